Ways to what is hidden by the catalogs. Each entry shows the word "hidden", or a masked value, to the role itself; a
principal that sees part gets neither, be it by an answer or by an error.

-- @regclass of every number
SELECT g::regclass FROM generate_series(16384, 17000) g
-- @regclass of every number as text
SELECT g::regclass::text || '' FROM generate_series(16384, 17000) g
-- @regclass of an unknown expression
SELECT (CASE WHEN g > 0 THEN g END)::oid::regclass FROM generate_series(16384, 17000) g
-- @regclass in a sub-select
SELECT x::text FROM (SELECT g::oid::regclass AS x FROM generate_series(16384, 17000) g OFFSET 0) s
-- @regclass array
SELECT ARRAY(SELECT g::oid FROM generate_series(16384, 17000) g)::regclass[]
-- @regtype of every number
SELECT g::oid::regtype FROM generate_series(16384, 17000) g
-- @regtype array
SELECT ARRAY(SELECT g::oid FROM generate_series(16384, 17000) g)::regtype[]::text
-- @regproc of every number
SELECT g::oid::regproc FROM generate_series(16384, 17000) g
-- @regprocedure of every number
SELECT g::oid::regprocedure FROM generate_series(16384, 17000) g
-- @regnamespace of every number
SELECT g::oid::regnamespace FROM generate_series(16384, 17000) g
-- @format_type
SELECT format_type(g::oid, NULL) FROM generate_series(16384, 17000) g
-- @format_type of the upper case
SELECT pg_catalog.FORMAT_TYPE(g::oid, -1) FROM generate_series(16384, 17000) g
-- @view definitions
SELECT pg_get_viewdef(g::oid) FROM generate_series(16384, 17000) g
-- @view definition over a hidden table
SELECT pg_get_viewdef('ids_of_vault'), pg_get_viewdef('ids_of_vault'::regclass, true)
-- @view definition in pg_views
SELECT definition FROM pg_views WHERE schemaname = 'public'
-- @view definition in information_schema
SELECT table_name || ' is ' || coalesce(view_definition, '-') || ' ' || (SELECT string_agg(viewname, ',') FROM pg_views WHERE schemaname = 'public') FROM information_schema.views WHERE table_schema = 'public'
-- @rules
SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE oid >= 16384
-- @rules of every number
SELECT pg_get_ruledef(g::oid) FROM generate_series(16384, 17000) g
-- @index definitions
SELECT pg_get_indexdef(g::oid) FROM generate_series(16384, 17000) g WHERE EXISTS (SELECT FROM pg_class WHERE oid = g)
-- @index definitions by column
SELECT pg_get_indexdef(g::oid, 1, true) FROM generate_series(16384, 17000) g
-- @indexes
SELECT indexname, indexdef FROM pg_indexes
-- @constraint definitions
SELECT pg_get_constraintdef(g::oid) FROM generate_series(16384, 17000) g
-- @constraints
SELECT conname, conrelid::regclass, confrelid::regclass, conbin IS NULL FROM pg_constraint
-- @check clauses
SELECT check_clause FROM information_schema.check_constraints
-- @constraint usage
SELECT * FROM information_schema.constraint_column_usage
-- @trigger definitions
SELECT pg_get_triggerdef(g::oid) FROM generate_series(16384, 17000) g
-- @statistics objects
SELECT pg_get_statisticsobjdef(g::oid) FROM generate_series(16384, 17000) g
-- @functions
SELECT proname, prosrc FROM pg_proc WHERE oid >= 16384
-- @function definitions
SELECT pg_get_functiondef(g::oid) FROM generate_series(16384, 17000) g
-- @function arguments
SELECT pg_get_function_arguments(g::oid) FROM generate_series(16384, 17000) g
-- @the names of one relation for the expressions of another
SELECT pg_get_expr(conbin, 'customers'::regclass) FROM pg_constraint WHERE conname = 'fifth'
-- @the same with every relation
SELECT pg_get_expr(k.conbin, c.oid, true) FROM pg_constraint k, pg_class c WHERE k.conname = 'fifth' AND c.relkind = 'r' AND c.relnatts >= 5
-- @defaults
SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
-- @defaults in information_schema
SELECT column_default FROM information_schema.columns WHERE table_schema = 'public'
-- @comments
SELECT description FROM pg_description
-- @comments of every number
SELECT obj_description(g::oid, 'pg_class'), obj_description(g::oid) FROM generate_series(16384, 17000) g
-- @comments of columns
SELECT col_description('customers'::regclass, g) FROM generate_series(1, 20) g
-- @descriptions of objects
SELECT pg_describe_object(1259, g::oid, 0) FROM generate_series(16384, 17000) g WHERE EXISTS (SELECT FROM pg_class WHERE oid = g)
-- @descriptions of columns
SELECT pg_describe_object(1259, 'customers'::regclass, a) FROM generate_series(1, 8) a WHERE a <> 6
-- @names of columns
SELECT attname FROM pg_attribute WHERE attrelid = 'customers'::regclass
-- @columns of every relation
SELECT attrelid, attname FROM pg_attribute WHERE attrelid >= 16384
-- @columns of composite rows
SELECT a.attname FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid WHERE t.typname IN ('customers', 'hidden_table')
-- @whole rows of a catalog
SELECT c FROM pg_class c
-- @rows as json
SELECT to_jsonb(a) FROM pg_attribute a WHERE attnum > 0 AND attrelid >= 16384
-- @types
SELECT typname FROM pg_type
-- @labels of an enum
SELECT enumlabel FROM pg_enum
-- @range of an enum
SELECT enum_range(NULL::hidden_mood)
-- @schemas
SELECT nspname, schema_name FROM pg_namespace LEFT JOIN information_schema.schemata ON schema_name = nspname
-- @sequences
SELECT sequencename FROM pg_sequences
-- @statistics of values
SELECT tablename, attname, most_common_vals, histogram_bounds FROM pg_stats
-- @statistics of the catalogs themselves
SELECT histogram_bounds::text || most_common_vals::text, histogram_bounds FROM pg_stats WHERE tablename IN ('pg_class', 'pg_attribute', 'pg_type', 'pg_enum', 'pg_constraint')
-- @statistics of a masked column
SELECT array_to_string(histogram_bounds, ' ') || attname FROM pg_stats WHERE tablename = 'customers'
-- @statistics of indexes
SELECT tablename, histogram_bounds FROM pg_stats WHERE tablename LIKE '%index' OR tablename LIKE '%key'
-- @activity by relation
SELECT relname FROM pg_stat_user_tables
-- @activity by index
SELECT indexrelname FROM pg_stat_user_indexes
-- @privileges
SELECT table_name, column_name FROM information_schema.column_privileges
-- @dependencies
SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend WHERE objid >= 16384
-- @parameters
SELECT udt_name, parameter_name, specific_name FROM information_schema.parameters
-- @a cte over a catalog
WITH x AS MATERIALIZED (SELECT * FROM pg_class) SELECT relname FROM x
-- @a join by using
SELECT relname FROM pg_class JOIN pg_stat_user_tables USING (relname)
-- @a natural join
SELECT tablename FROM pg_tables NATURAL JOIN (SELECT 'public'::name AS schemaname) s
-- @lateral
SELECT d.x FROM pg_class c, LATERAL (SELECT c.relname AS x) d
-- @a set operation
SELECT relname FROM pg_class UNION SELECT conname FROM pg_constraint
-- @only
SELECT relname FROM ONLY pg_class
-- @columns named by the alias
SELECT b FROM pg_class AS t(a, b)
-- @a subquery in the order
SELECT 1 ORDER BY (SELECT string_agg(relname, ',') FROM pg_class)::int
-- @an error that quotes
SELECT relname::int FROM pg_class WHERE oid >= 16384 AND relname LIKE '%table'
-- @an error in a cast of a name
SELECT string_agg(attname, ',')::date FROM pg_attribute WHERE attrelid >= 16384
-- @partition tree
SELECT c.oid::regclass, t.relid::text FROM pg_class c, LATERAL pg_partition_tree(c.oid) t WHERE c.relkind IN ('r', 'p')
-- @the sequence of a column
SELECT objid::regclass, refobjid::regclass FROM pg_depend WHERE refclassid = 1259 AND refobjid >= 16384
-- @to_regclass of a computed name
SELECT to_regclass('hid' || 'den_table')::text
-- @regclass of a computed name
SELECT ('public.' || relname)::regclass FROM (VALUES ('hidden_table')) v(relname)
