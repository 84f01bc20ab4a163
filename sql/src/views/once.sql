-- Every measurement of the table once, under its first date: a file that was published twice, as it can be around midnight
-- or after a rescue, stands in two objects. Only keys are compared, so that wide rows are never held.
CREATE VIEW {schema}_intermediate.{table}_once AS
WITH again AS (
    SELECT filename, file_row_number
    FROM {schema}_intermediate.{table}_placed
    WHERE id IS NOT NULL
    QUALIFY row_number() OVER (
        PARTITION BY {key} ORDER BY date, filename, file_row_number) > 1
)
SELECT * EXCLUDE (filename, file_row_number)
FROM {schema}_intermediate.{table}_placed ANTI JOIN again USING (filename, file_row_number)
