SELECT unnest(parts) AS part, regexp_extract(filename, 'date=([0-9-]+)/[^/]*$', 1) AS day
        FROM read_json('{root}/log/date=*/*.json', filename = true, columns = {
            parts: 'STRUCT(path VARCHAR, merged VARCHAR[], sources STRUCT(stem VARCHAR)[])[]'})
