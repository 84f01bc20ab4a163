-- Rows in force, and where each stands: all of live and sealed, but for live files whose rows a part of the log took over.
CREATE VIEW {schema}_intermediate.{table}_placed AS
WITH part AS (
    SELECT unnest(parts) AS part, regexp_extract(filename, 'date=([0-9-]+)', 1) AS day
    FROM read_json('{root}/log/date=*/*.json', filename = true, columns = {
        parts: 'STRUCT(path VARCHAR, merged VARCHAR[], sources STRUCT(stem VARCHAR)[])[]'})
), in_place AS (
    SELECT * FROM part
    WHERE '{root}/' || part.path IN (SELECT file FROM glob('{root}/*/date=*/*.parquet'))
), void AS (
    SELECT '{root}/live/date=' || day || '/' || stem || '.parquet' AS file
    FROM (SELECT day, unnest(list_concat(part.merged, [source.stem FOR source IN part.sources])) AS stem FROM in_place)
)
SELECT *
FROM read_parquet('{root}/*/date=*/*.parquet', filename = true, file_row_number = true, hive_partitioning = true,
    hive_types = {date: DATE}, union_by_name = true)
WHERE filename NOT IN (SELECT file FROM void)
