package events_test

import (
	"fmt"
	"slices"
	"testing"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
)

// TestAPersonIsForgotten under every login that the account has had, as an actor and as
// an author; nobody else is.
func TestAPersonIsForgotten(t *testing.T) {
	w := &world{t: t, owner: "forgetting"}
	w.repository(71, "tool")
	w.happens(71, day(280), "PushEvent", "", "Grace")
	w.events[0].ActorID = new(identity("grace"))
	w.happens(71, day(281), "PushEvent", "", "grace")
	w.happens(71, day(282), "IssueCommentEvent", "created", "ada", issue(1), begun("grace", day(200)))
	w.happens(71, day(283), "PushEvent", "", "grace-now") // the same account under another login
	w.events[3].ActorID = new(identity("grace"))
	w.happens(71, day(284), "IssueCommentEvent", "created", "ada", issue(2), begun("bob", day(200)))
	w.happens(71, day(285), "PushEvent", "", "gracehopper")
	w.store()
	conn, err := sinkclickhouse.Open(store.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	for range 2 { // it may be done again
		ids, logins, err := sinkclickhouse.AccountsOf(t.Context(), conn, "GRACE")
		if err != nil {
			t.Fatal(err)
		}
		if len(ids) > 0 && (!slices.Equal(ids, []int64{identity("grace")}) || !slices.Equal(logins, []string{"Grace", "grace", "grace-now"})) {
			t.Errorf("accounts %d called %q", ids, logins)
		}
		if err := sinkclickhouse.Forget(t.Context(), conn, ids); err != nil {
			t.Fatal(err)
		}
		want(t, "SELECT actor_login, author_login FROM pulse.github_events WHERE repo_id = 71 ORDER BY created_at", `ada bob`, `gracehopper \N`)
	}
	want(t, fmt.Sprintf("SELECT count() FROM pulse.github_events WHERE actor_id = %[1]d OR author_id = %[1]d", identity("grace")), "0")
}
