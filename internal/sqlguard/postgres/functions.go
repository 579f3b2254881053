package postgres

// functions are the functions of pg_catalog that may be called, by name: every overload of a name has to be
// harmless. They compute from their arguments alone (or from the clock or a random source): they read no
// table, no file, no setting, no statistics, look up no name, change nothing, and run no text. A few say what
// the server, the database or an enum is called.
// The test against a real server says which overloads a name has there.
var functions = listed(`
	abs cbrt ceil ceiling degrees div exp factorial floor gcd lcm ln log log10 min_scale mod power pow radians
	round scale sign sqrt trim_scale trunc width_bucket random
	acos acosd asin asind atan atand atan2 atan2d cos cosd cot cotd sin sind tan tand
	sinh cosh tanh asinh acosh atanh pi

	ascii bit_length btrim char_length character_length chr concat concat_ws convert_from convert_to decode
	encode format initcap left length lower lpad ltrim md5 normalize is_normalized octet_length overlay
	position quote_ident quote_literal quote_nullable regexp_count regexp_instr regexp_like regexp_match
	regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr repeat replace
	reverse right rpad rtrim sha224 sha256 sha384 sha512 split_part starts_with string_to_array
	string_to_table strpos substr substring translate unistr upper similar_to_escape like_escape to_hex
	bit_count get_bit get_byte set_bit set_byte to_ascii

	age clock_timestamp date_bin date_part date_trunc extract isfinite justify_days justify_hours
	justify_interval make_date make_interval make_time make_timestamp make_timestamptz now
	statement_timestamp timeofday transaction_timestamp to_timestamp to_date to_char to_number timezone
	overlaps

	array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position
	array_positions array_prepend array_remove array_replace array_to_string array_upper cardinality
	trim_array unnest generate_series generate_subscripts

	array_to_json to_json to_jsonb row_to_json json_array_elements jsonb_array_elements
	json_array_elements_text jsonb_array_elements_text json_array_length jsonb_array_length json_build_array
	jsonb_build_array json_build_object jsonb_build_object json_each jsonb_each json_each_text
	jsonb_each_text json_extract_path jsonb_extract_path json_extract_path_text jsonb_extract_path_text
	json_object jsonb_object json_object_keys jsonb_object_keys json_strip_nulls jsonb_strip_nulls jsonb_set
	jsonb_set_lax jsonb_insert jsonb_path_exists jsonb_path_match jsonb_path_query jsonb_path_query_array
	jsonb_path_query_first jsonb_path_exists_tz jsonb_path_match_tz jsonb_path_query_tz
	jsonb_path_query_array_tz jsonb_path_query_first_tz jsonb_pretty json_typeof jsonb_typeof
	json_to_record jsonb_to_record json_to_recordset jsonb_to_recordset

	hashtext hashtextextended hashint2 hashint4 hashint8 hashfloat4 hashfloat8 hash_numeric hashbpchar hashchar
	hash_array hash_range uuid_hash jsonb_hash timestamp_hash time_hash pg_column_size
	array_sample array_shuffle array_sort array_reverse to_bin to_oct casefold crc32 crc32c date_add date_subtract
	random_normal erf erfc gamma lgamma uuidv4 uuidv7 uuid_extract_version uuid_extract_timestamp unicode_assigned
	gen_random_uuid num_nulls num_nonnulls pg_typeof
	version current_database enum_first enum_last enum_range pg_size_pretty pg_size_bytes parse_ident
	xmlagg xmlcomment any_value

	isempty lower_inc lower_inf upper_inc upper_inf range_merge multirange
	int4range int8range numrange tsrange tstzrange daterange
	int4multirange int8multirange nummultirange tsmultirange tstzmultirange datemultirange

	abbrev broadcast family host hostmask inet_merge inet_same_family masklen netmask network set_masklen
	macaddr8_set7bit

	area center diagonal diameter height isclosed isopen npoints pclose popen radius slope width
	box circle line lseg path point polygon bound_box

	to_tsquery plainto_tsquery phraseto_tsquery websearch_to_tsquery to_tsvector json_to_tsvector jsonb_to_tsvector numnode querytree
	setweight strip ts_delete ts_filter ts_rank ts_rank_cd tsvector_to_array array_to_tsvector
	tsquery_phrase ts_headline

	array_agg avg bit_and bit_or bit_xor bool_and bool_or count every json_agg jsonb_agg json_object_agg
	jsonb_object_agg max min range_agg range_intersect_agg string_agg sum corr covar_pop covar_samp
	regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy stddev
	stddev_pop stddev_samp variance var_pop var_samp mode percentile_cont percentile_disc
	row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value

	bool text varchar bpchar name int2 int4 int8 float4 float8 numeric date time timetz timestamp
	timestamptz interval
`)
