-- The table as it is.
CREATE VIEW {schema}.{table} AS
SELECT * EXCLUDE (filename), {date} AS date FROM {files}
