-- The files whose rows are in force: all of live and sealed, but for live files whose rows a part of the log took over. The
-- files are listed once, so that what is replaced meanwhile is neither lost nor counted twice.
SET VARIABLE "{schema}.{table}" = (
    WITH present AS MATERIALIZED (
        SELECT file FROM glob(['{root}/live/date=*/*.parquet', '{root}/sealed/date=*/*.parquet'])
    ), part AS (
        {log}
    ), void AS (
        SELECT '{root}/live/date=' || day || '/' || unnest(list_concat(part.merged, [source.stem FOR source IN part.sources]))
            || '.parquet' AS file
        FROM part WHERE '{root}/' || part.path IN (SELECT file FROM present)
    )
    SELECT list(file ORDER BY file) FROM present ANTI JOIN void USING (file)
)
