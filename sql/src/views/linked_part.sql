    LEFT JOIN {schema}_intermediate.{part}_beside AS {part} ON test.id = {part}.id AND test.date = {part}.date
