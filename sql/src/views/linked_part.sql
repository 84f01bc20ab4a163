    LEFT JOIN (
        SELECT id, list({row} ORDER BY {order}) AS {part}
        FROM {schema}_intermediate.{part}_once GROUP BY id
    ) AS {part} USING (id)
