package postgres

import pg "github.com/pganalyze/pg_query_go/v6"

// harmlessSettings are settings that say how the server works and hold nothing of its users: they are shown by
// SHOW, current_setting and pg_settings as the server has them.
var harmlessSettings = listed(`
	application_name array_nulls autovacuum backslash_quote block_size bytea_output check_function_bodies
	client_encoding constraint_exclusion cpu_index_tuple_cost cpu_operator_cost cpu_tuple_cost cursor_tuple_fraction
	data_checksums datestyle deadlock_timeout debug_assertions default_statistics_target default_table_access_method
	default_tablespace default_text_search_config default_toast_compression default_transaction_deferrable
	default_transaction_isolation default_transaction_read_only effective_cache_size effective_io_concurrency
	enable_async_append enable_bitmapscan enable_gathermerge enable_hashagg enable_hashjoin enable_incremental_sort
	enable_indexonlyscan enable_indexscan enable_material enable_memoize enable_mergejoin enable_nestloop
	enable_parallel_append enable_parallel_hash enable_partition_pruning enable_partitionwise_aggregate
	enable_partitionwise_join enable_seqscan enable_sort enable_tidscan escape_string_warning exit_on_error
	extra_float_digits from_collapse_limit full_page_writes geqo geqo_threshold hash_mem_multiplier huge_pages
	idle_in_transaction_session_timeout idle_session_timeout in_hot_standby integer_datetimes intervalstyle jit
	join_collapse_limit lc_collate lc_ctype lc_messages lc_monetary lc_numeric lc_time lock_timeout lo_compat_privileges
	maintenance_work_mem max_connections max_function_args max_identifier_length max_index_keys
	max_locks_per_transaction max_parallel_workers max_parallel_workers_per_gather max_prepared_transactions
	max_worker_processes min_parallel_index_scan_size min_parallel_table_scan_size parallel_leader_participation
	parallel_setup_cost parallel_tuple_cost plan_cache_mode quote_all_identifiers random_page_cost
	recursive_worktable_factor segment_size seq_page_cost server_encoding server_version server_version_num
	shared_buffers standard_conforming_strings statement_timeout superuser_reserved_connections synchronize_seqscans
	synchronous_commit temp_buffers timezone timezone_abbreviations transaction_deferrable transaction_isolation
	transaction_read_only transform_null_equals wal_block_size wal_level wal_segment_size work_mem xmlbinary
	track_activities track_counts track_functions track_io_timing`)

// computedSetting understands current_setting of a name that is computed, of pg_settings for example: it is NULL
// for a setting that is not harmless.
func (a *analysis) computedSetting(v *pg.FuncCall, s *scope) error {
	if v.AggStar || v.Over != nil || v.AggFilter != nil || len(v.AggOrder) > 0 || v.AggDistinct || v.FuncVariadic || len(v.Args) > 2 {
		return a.notUnderstood(nil, v.Location, "The call of current_setting is not on the list of what is understood.")
	}
	v.Funcname = []*pg.Node{pg.MakeStrNode("pg_catalog"), pg.MakeStrNode("current_setting")}
	if err := a.exprs(s, v.Args...); err != nil {
		return err
	}
	if v.Args[0].GetNamedArgExpr() != nil || counts(v.Args[0]) {
		return a.notBuilt(v.Location, "Calls of current_setting with such an argument are")
	}
	a.later(func() (err error) {
		v.Args[0], err = a.template("(SELECT _gatehouse_a.n FROM (SELECT CAST($60000 AS pg_catalog.text) AS n OFFSET 0) AS _gatehouse_a WHERE pg_catalog.lower(_gatehouse_a.n) = ANY ("+textArray(harmlessSettings)+"))", &pg.Node{Node: v.Args[0].Node})
		return err
	})
	return nil
}
