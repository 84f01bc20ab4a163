-- Rows in force where nothing was compacted or sealed yet, and where each stands.
CREATE VIEW {schema}_intermediate.{table}_placed AS
SELECT *
FROM read_parquet('{root}/*/date=*/*.parquet', filename = true, file_row_number = true, hive_partitioning = true,
    hive_types = {date: DATE}, union_by_name = true)
