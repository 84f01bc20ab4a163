-- Rows in force where nothing was compacted or sealed yet.
CREATE VIEW {schema}.{table} AS
SELECT *
FROM read_parquet('{root}/*/date=*/*.parquet', hive_partitioning = true, hive_types = {date: DATE}, union_by_name = true)
