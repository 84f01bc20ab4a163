-- Every measurement of the table once, under its first date: a file that was published twice, as it can be around midnight
-- or after a rescue, stands in two objects, of dates that are no more than two days apart. An id that is none, and a part of
-- the key that is unknown, say nothing about copies.
--
-- Dates are moved by {shift} days. Each is compared for equality straight above the files, and with joins through which the
-- engine hands on what is asked of a date: a question about one date opens the files of that and the two before.
CREATE VIEW {schema}_intermediate.{table}_{name} AS
WITH keyed AS NOT MATERIALIZED (
    SELECT {date} + {shift} AS date, filename, file_row_number, id AS key, {part} AS part
    FROM {files} WHERE {is_id} AND {part} IS NOT NULL
), before AS NOT MATERIALIZED (
    SELECT {date} + {shift} + 1 AS date, id AS key, {part} AS part FROM {files}
    UNION ALL
    SELECT {date} + {shift} + 2 AS date, id AS key, {part} AS part FROM {files}
), again AS NOT MATERIALIZED (
    SELECT date, filename, file_row_number FROM keyed
    QUALIFY row_number() OVER (PARTITION BY date, key, part ORDER BY filename, file_row_number) > 1
    UNION ALL
    SELECT keyed.date, filename, file_row_number
    FROM keyed JOIN before ON keyed.date = before.date AND keyed.key = before.key AND keyed.part = before.part
), every AS NOT MATERIALIZED (
    SELECT *, {date} + {shift} AS date, file_row_number FROM {files}
)
SELECT every.* EXCLUDE (filename, file_row_number)
FROM every LEFT JOIN again ON every.date = again.date AND every.filename = again.filename
    AND every.file_row_number = again.file_row_number
WHERE again.date IS NULL
