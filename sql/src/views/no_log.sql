SELECT NULL::STRUCT(path VARCHAR, merged VARCHAR[], sources STRUCT(stem VARCHAR)[]) AS part, '' AS day WHERE false
