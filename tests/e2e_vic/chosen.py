"""What of `tests/e2e` is not run on VIC's Harbor, and why: it could tell no difference, or VIC has no such thing.

Whatever is not named here is run there, too; `test_chosen.py` holds this against the tests that there are.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

__all__ = ["NOT_AGAIN", "again"]

_OURS: Final = "decided by us, from what other tests read on VIC: no Harbor is asked anything more"
_TARGET: Final = "between us and a target, once a Harbor has handed out what it was asked for"
_BROKEN: Final = "a registry that is away or breaks off is so on every Harbor"
_TWICE: Final = "the same words to a Harbor as in another test that is run there"
_DIALECTS: Final = "test_dialects.py asks this of every Harbor, VIC's among them"
_NO_ROBOTS: Final = "VIC's Harbor has no robots, which test_dialects.py proves to be told"

# By module and test; a reason that begins with `test_differences` names the test that proves what VIC does instead.
NOT_AGAIN: Final[Mapping[str, Mapping[str, str] | str]] = {
    "activation": _TARGET,
    "administration": _DIALECTS,
    "approvals": {
        "test_two_approvals_are_of_two_people_and_of_this_very_plan": _TWICE,
        "test_a_plan_that_moved_on_or_was_changed_is_not_approved": _OURS,
    },
    "bundles": {
        "test_a_group_is_named_wherever_a_target_is": _OURS,
        "test_a_bundle_fails_as_one_on_a_target_and_the_same_command_takes_it_up": _TARGET,
        "test_one_gate_of_one_image_keeps_the_bundle_from_every_host_and_all_are_shown": _OURS,
        "test_a_bundle_is_saved_agreed_to_carried_out_and_goes_stale": _OURS,
        "test_two_images_of_one_repository_are_no_bundle": _OURS,
    },
    "copies": {
        "test_what_the_gates_refuse_is_not_copied": _OURS,
        "test_a_saved_plan_says_what_is_copied_and_does_it": _OURS,
        "test_a_name_that_makes_no_sense_is_refused": _OURS,
        "test_who_may_not_push_there_is_told_before_a_host_is_touched": (
            "test_differences.test_a_project_that_is_missing_or_hidden_is_told_as_either"
        ),
    },
    "dialects": "it brings up VIC's Harbor by itself",
    "doctor": {
        "test_a_well_sandbox_is_told_in_one_run_and_nothing_is_changed": (
            "test_differences.test_the_doctor_finds_no_robot_and_no_schema_1_that_is_lacking"
        ),
        "test_what_a_vch_cannot_take_is_told_in_seconds_and_an_engine_takes_it": (
            "test_differences.test_the_doctor_finds_no_robot_and_no_schema_1_that_is_lacking"
        ),
        "test_a_target_of_another_authority_is_told_by_the_authoritys_name": _TARGET,
        "test_a_client_certificate_that_has_expired_or_is_foreign_is_told": _TARGET,
        "test_everything_else_is_told_although_a_file_is_gone": _OURS,
    },
    "explained": {
        "test_who_may_not_push_is_told_which_role_it_takes": (
            "test_differences.test_who_may_not_push_is_told_which_role_it_takes"
        ),
        "test_who_is_no_member_is_told_so_by_name": _DIALECTS,
        "test_a_project_that_is_missing_is_named": (
            "test_differences.test_a_project_that_is_missing_or_hidden_is_told_as_either"
        ),
        "test_a_full_quota_is_told_with_its_numbers_and_a_limit_that_is_enough": "quotas came with Harbor 1.9",
        "test_an_immutable_tag_is_named": "immutable tags came with Harbor 1.10",
        "test_read_only_mode_is_told_for_what_it_is": (
            "test_registry_lies.test_a_registry_that_only_reads_is_told_as_such"
        ),
        "test_a_pull_that_a_policy_forbids_a_target_is_told_with_the_policy": (
            "test_differences.test_what_vic_forbids_to_pull_is_told_with_the_policy_of_the_project"
        ),
        "test_a_robot_that_was_switched_off_is_told_that_this_may_be_it": _NO_ROBOTS,
        "test_who_may_not_attach_a_signature_is_told_which_role_it_takes": (
            "test_differences.test_who_may_not_push_is_told_which_role_it_takes"
        ),
        "test_when_harbor_cannot_say_why_the_refusal_stands_alone": _OURS,
        "test_a_refused_call_is_told_with_the_role_it_takes_and_whom_to_ask": _DIALECTS,
    },
    "faults": {
        "test_a_registry_that_restarts_during_a_pull_is_outlasted": _BROKEN,
        "test_targets_that_are_killed_during_a_pull_and_come_back_are_asked_again": _TARGET,
        "test_a_network_that_is_cut_during_a_pull_is_noticed_and_waited_for": _TARGET,
        "test_an_engine_whose_disk_is_full_is_told_as_such": _TARGET,
        "test_what_harbor_forbids_a_target_to_pull_is_told_in_its_words": (
            "test_differences.test_what_vic_forbids_to_pull_is_told_with_the_policy_of_the_project"
        ),
        "test_an_identity_that_expires_during_a_pull_costs_nothing": _OURS,
        "test_a_client_certificate_that_expires_during_a_pull_costs_nothing": _TARGET,
        "test_a_second_promotion_to_a_target_waits_for_the_first": _OURS,
        "test_two_promotions_from_two_machines_at_once_are_both_on_record": _TWICE,
        "test_a_clock_that_is_an_hour_off_is_told_before_any_host_is_touched": _OURS,
        "test_a_certificate_that_is_too_old_when_it_comes_costs_the_record_only": _OURS,
    },
    "gates": {
        "test_a_scan_stops_a_promotion_in_its_own_words": (
            "test_differences.test_a_policy_that_asks_for_a_scan_is_told_that_this_harbor_shows_none"
        ),
        "test_a_scan_that_is_good_enough_is_on_record": (
            "test_differences.test_a_policy_that_asks_for_a_scan_is_told_that_this_harbor_shows_none"
        ),
        "test_an_image_stands_on_another_target_first": _TWICE,
        "test_a_freeze_stops_everybody_but_who_says_why": _OURS,
    },
    "happy": {
        "test_the_pinned_line_of_run_is_what_promote_takes": _TWICE,
        "test_files_for_later_jobs_hold_the_pinned_reference": _OURS,
        "test_config_show_tells_where_each_value_comes_from": _OURS,
        "test_config_show_masks_a_password_that_came_by_the_environment": _OURS,
        "test_an_unknown_workspace_makes_its_first_image_by_two_commands": _TWICE,
    },
    "interruption": {
        "test_ctrl_c_in_a_build_is_exit_130_and_pushes_nothing": _OURS,
        "test_a_promotion_killed_on_its_way_is_taken_up_by_the_same_command": (
            "test_differences.test_a_promotion_survives_its_death_at_each_manifest_that_it_writes"
        ),
        "test_ctrl_c_in_a_promotion_or_a_cancelled_job_is_exit_130_and_lets_go": _TARGET,
    },
    "jobs": _OURS,
    "ledger": {
        "test_who_only_reads_needs_nobody_to_sign": _OURS,
        "test_the_way_back_runs_the_digest_asked_for": _TARGET,
        "test_a_tag_that_a_vch_has_seen_cannot_bring_the_wrong_image_back": _TARGET,
        "test_what_was_left_is_held_until_it_is_released": _TWICE,
        "test_going_back_twice_goes_one_step": _TWICE,
        "test_status_tells_what_is_current_and_what_drifted": _TARGET,
        "test_a_plan_is_saved_agreed_to_and_carried_out": _OURS,
        "test_a_plan_is_stale_once_its_tag_moved": _OURS,
        "test_a_plan_is_stale_once_its_policy_changed": _OURS,
        "test_a_plan_is_stale_once_its_target_is_another": _OURS,
        "test_a_plan_is_stale_once_its_target_was_brought_elsewhere": _OURS,
        "test_a_plan_is_stale_after_a_day_and_worthless_when_changed": _OURS,
        "test_on_a_terminal_the_plan_shows_from_and_to_and_asks": _OURS,
    },
    "locks": _TARGET,
    "needs": _TWICE,
    "odd_names": _DIALECTS,
    "offline": {
        "test_what_is_held_back_or_was_done_already_is_known_without_the_registry": _OURS,
        "test_without_what_was_kept_there_is_no_way_back_and_a_changed_record_is_not_sent": _OURS,
        "test_containers_go_back_offline_to_the_digest_that_is_asked_for_whatever_a_stale_name_means": _TARGET,
        "test_a_rollback_is_kept_and_sent_once_whenever_we_are_killed": _TWICE,
    },
    "old_harbors": "it brings up Harbor 1.10 by itself",
    "protection": {
        "test_what_is_needed_cannot_be_deleted_until_nobody_needs_it": (
            "test_differences.test_what_is_needed_is_shown_and_that_nothing_can_be_kept_is_said"
        ),
        "test_while_a_target_is_away_nothing_is_let_go_of_and_nothing_called_free": (
            "test_differences.test_what_is_needed_is_shown_and_that_nothing_can_be_kept_is_said"
        ),
        "test_who_may_not_make_tags_immutable_is_told": (
            "test_differences.test_what_is_needed_is_shown_and_that_nothing_can_be_kept_is_said"
        ),
        "test_a_check_without_an_image_and_without_a_target_makes_no_sense": _OURS,
    },
    "refused_access": {
        "test_an_expired_client_certificate_is_named": _TARGET,
        "test_a_client_certificate_of_another_authority_is_refused_by_the_vch": _TARGET,
        "test_a_client_certificate_of_another_authority_is_refused_by_an_engine": _TARGET,
        "test_the_authority_of_another_target_is_not_accepted": _TARGET,
        "test_a_robot_that_may_only_pull_is_told_which_right_it_lacks": _NO_ROBOTS,
        "test_an_expired_identity_token_stops_a_promotion_before_any_host_is_touched": _OURS,
        "test_an_expired_identity_token_stops_a_run_before_anything_is_pushed": _OURS,
        "test_an_identity_token_for_somebody_else_is_told_as_such": _OURS,
    },
    "refused_evidence": {
        "test_the_right_identity_by_another_issuer_does_not_count": _TWICE,
        "test_a_signature_of_another_sigstore_does_not_count_even_if_it_calls_itself_ours": _TWICE,
        "test_an_image_with_91_history_entries_is_refused_before_any_host_is_touched": _OURS,
        "test_an_oci_image_is_refused_for_a_vch_and_goes_to_an_engine": (
            "test_differences.test_an_oci_image_does_not_even_come_so_far"
        ),
    },
    "refused_input": {
        "test_a_command_line_that_makes_no_sense_is_exit_2": _OURS,
        "test_an_unknown_progress_is_refused": _OURS,
        "test_no_terminal_and_no_yes_changes_nothing": _OURS,
        "test_an_unknown_target_is_exit_4_and_suggests_the_near_one": _OURS,
        "test_an_unknown_pipeline_is_exit_4_and_suggests_the_near_one": _OURS,
        "test_an_unknown_key_in_a_pipeline_names_file_line_and_the_likely_key": _OURS,
        "test_an_unknown_variable_in_a_tag_names_file_line_and_the_likely_one": _OURS,
        "test_a_missing_context_is_told_with_its_place": _OURS,
        "test_two_images_that_claim_one_tag_are_refused_before_anything_is_built": _OURS,
        "test_a_dockerfile_that_fails_is_exit_7_with_what_the_step_printed": _OURS,
        "test_one_image_of_two_that_fails_is_exit_10_and_the_other_is_done": _OURS,
        "test_a_target_without_a_policy_is_exit_3": _OURS,
        "test_an_unknown_setting_names_file_line_and_the_likely_one": _OURS,
        "test_a_configuration_that_is_not_there_is_told": _OURS,
        "test_an_answer_on_stdout_is_alone_there": _OURS,
    },
    "refused_targets": _TARGET,
    "registry_lies": {
        "test_a_registry_that_is_away_is_exit_8_after_some_tries": _BROKEN,
        "test_a_registry_in_trouble_is_exit_8_in_its_own_words": _BROKEN,
        "test_a_hiccup_of_the_registry_is_outlasted": _BROKEN,
        "test_an_image_that_is_away_from_a_broken_registry_is_not_called_unsigned": (
            "test_differences.test_an_image_whose_list_cannot_be_read_is_not_called_unsigned"
        ),
    },
    "robot_secrets": _NO_ROBOTS,
    "rotation": _NO_ROBOTS,
    "running": {
        "test_status_tells_which_containers_run_what_and_that_it_is_not_what_was_promoted": _TARGET,
        "test_a_stale_name_runs_the_wrong_image_and_the_digest_that_was_asked_for_runs_the_right_one": _TARGET,
    },
    "sandbox_cli": "all flavours of the sandbox come up and go by the same code; test_dialects.py does it with each",
    "sweep": {
        "test_a_promotion_survives_its_death_at_each_of_16_moments": (
            "test_differences.test_a_promotion_survives_its_death_at_each_manifest_that_it_writes"
        ),
        "test_a_rollback_survives_its_death_at_each_of_4_moments": _TWICE,
    },
    "targets": _TARGET,
    "verified": _OURS,
}


def again(module: ModuleType) -> dict[str, Any]:
    """Returns the tests of a module that are run here, too, and the fixtures, with all that they use."""
    left_out = NOT_AGAIN.get(module.__name__.rpartition(".test_")[2], {})
    assert not isinstance(left_out, str), f"{module.__name__} is not run here: {left_out}"
    return {name: value for name, value in vars(module).items() if not name.startswith("__") and name not in left_out}
