-- How many schemas the files have.
SELECT count(DISTINCT columns) FROM (
    SELECT list((name, type, repetition_type, num_children, converted_type, logical_type::VARCHAR)) AS columns
    FROM parquet_schema({files}) GROUP BY file_name
)
