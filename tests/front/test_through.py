"""What clients rely on holds behind a worker too: the same tests, through one."""

# ruff: noqa: F401
from tests.compat.test_blocking import (
    test_a_client_that_leaves_ends_its_query,
    test_a_query_wakes_when_its_key_changes,
    test_consistency,
    test_freshness_headers,
    test_time_out_answers_what_is_there,
)
from tests.compat.test_garbage import (
    test_a_client_that_leaves_mid_body_is_dropped,
    test_garbage_is_400_and_counted,
    test_random_bytes_never_stop_it,
)
from tests.compat.test_hits import (
    test_a_body_that_comes_later_is_no_request,
    test_a_client_that_does_not_read_is_not_written_for_without_end,
    test_connection_close_closes,
    test_split_and_joined_requests_are_answered_in_order,
)
from tests.compat.test_limits import (
    test_a_body_that_does_not_come_is_told_408,
    test_a_client_that_takes_nothing_is_cut_off,
    test_a_connection_that_says_nothing_is_closed,
    test_a_head_has_a_limit,
    test_a_waiting_query_is_not_idle,
    test_many_watchers_are_woken_by_their_change_and_nothing_else,
    test_no_limit_of_connections_is_none,
)
from tests.compat.test_rules import (
    test_a_get_with_a_body_ignores_it,
    test_expect_continue,
    test_gzip,
    test_headers_of_every_response,
    test_keep_alive_and_pipelining,
    test_many_connections_of_one_client_are_told_429,
    test_token_sources_in_order,
    test_writes_only_from_allowed_networks,
)
