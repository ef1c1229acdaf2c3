package sweep

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
)

func TestAnUnknownOwnerIsInTheLedger(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.env["OWNERS"] = "nobody, jane"
		s := w.start()
		w.tick(s, "sweep")
		w.deliver(s)
		if l := w.line("nobody"); l.Status != event.StatusUnknownOwner || l.Expected != nil || l.Reason == nil {
			t.Errorf("ledger line %+v", l)
		}
		if l := w.line("jane"); l.Status != event.StatusComplete {
			t.Errorf("an unknown owner disturbed another: %+v", l)
		}
	})
}

func TestAnOwnerThatVanishesIsIncomplete(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.github.Observe(func(q emulator.Request) {
			if q.After != "" {
				w.github.Change(func(g *emulator.World) { g.Owners = g.Owners[1:] })
				w.github.Observe(nil)
			}
		})
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		if l := w.line("Acme"); l.Status != event.StatusIncomplete || l.Seen != 2 {
			t.Errorf("ledger line %+v", l)
		}
	})
}

func TestANullNodeIsUnansweredNotZero(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.github.Change(func(g *emulator.World) { g.Owner("acme").Repos[3].Unanswered = true })
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		w.finish(s)
		l := w.line("Acme")
		if l.Status != event.StatusIncomplete || l.Unanswered != 1 || l.Seen != 6 || *l.Expected != 7 || l.Reason == nil {
			t.Errorf("ledger line %+v", l)
		}
		if all := w.observed(); len(all) != 6 || all[1003] != nil {
			t.Errorf("%d repositories are observed, want 6", len(all))
		}
	})
}

func TestNothingIsAskedBeforeALimitIsOver(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		reset := time.Now().Add(40 * time.Minute).Truncate(time.Second)
		w.github.SetRemaining(tokenA, reservePoints+6, reset) // whose token, the owner's kind, two pages and their commits
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatalf("a limit made the request fail: %v", err)
		}
		cp := w.checkpoint(s, "acme", w.sweepID())
		if cp.Line.Pages != 2 || cp.NotBefore.Before(reset) || cp.NotBefore.After(reset.Add(5*time.Second)) || cp.Worker != 0 {
			t.Fatalf("checkpoint %+v, want 2 pages and to wait until %s", cp, reset)
		}
		sweep, asked := w.sweepID(), len(w.github.Requests())
		w.tick(s, "wake")
		if n := len(w.records(event.TopicFetchRequests)); n != 0 {
			t.Errorf("a wake before the time asked for %d sweeps", n)
		}
		if err := w.start().Fetch(t.Context(), w.requested("acme", sweep)); err != nil { // a bell that comes too early, to another replica
			t.Fatal(err)
		}
		if n := len(w.github.Requests()); n != asked {
			t.Errorf("GitHub was asked %d times before the limit was over", n-asked)
		}
		time.Sleep(41 * time.Minute)
		w.tick(s, "wake")
		w.deliver(s)
		if l := w.line("Acme"); l.Status != event.StatusComplete || l.SweepID != sweep || l.Pages != 4 {
			t.Errorf("ledger line %+v", l)
		}
	})
}

func TestALimitThatGitHubAnswersIsObeyed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		reset := time.Now().Add(10 * time.Minute).Truncate(time.Second)
		w.github.SetRemaining(tokenA, 0, reset)
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		if cp := w.checkpoint(s, "acme", w.sweepID()); cp.NotBefore.Before(reset) {
			t.Errorf("not before %s, want %s or later", cp.NotBefore, reset)
		}
	})
}

func TestRetryAfterIsObeyed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.github.Fail(nil, nil, emulator.Secondary(2*time.Minute))
		before := time.Now()
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		if cp := w.checkpoint(s, "acme", w.sweepID()); cp.NotBefore.Before(before.Add(2 * time.Minute)) {
			t.Errorf("not before %s, asked at %s", cp.NotBefore, before)
		}
		if n := w.pagesAsked("acme"); n != 1 {
			t.Errorf("GitHub was asked %d times after its limit", n)
		}
	})
}

func TestTheNextTokenIsUsedWhenOneIsSpent(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.env["GITHUB_TOKEN"] = tokenA + ", " + tokenB
		s := w.start()
		w.github.SetRemaining(tokenA, reservePoints+3, time.Now().Add(time.Hour))
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		if l := w.line("Acme"); l.Status != event.StatusComplete {
			t.Errorf("ledger line %+v", l)
		}
		used := map[string]int{}
		for _, q := range w.github.Requests() {
			used[q.Token]++
		}
		if used[tokenA] != 3 || used[tokenB] != 8 {
			t.Errorf("questions by token: %v", used)
		}
	})
}

func TestAPageThatGitHubFailsOfIsAskedForAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.github.Fail(nil, emulator.Killed, nil, emulator.TimedOut, emulator.Garbage)
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		if l := w.line("Acme"); l.Status != event.StatusComplete || l.KilledPages != 2 || l.Seen != 7 {
			t.Errorf("ledger line %+v", l)
		}
	})
}

func TestAFailingGitHubIsLeftToTheNextWake(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		for range 20 {
			w.github.Fail(emulator.Killed)
		}
		began := time.Now()
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("the handler took %s", took)
		}
		if n := len(w.records(event.TopicFetchRequests)); n != 0 {
			t.Error("a sweep that gets nowhere asked for its continuation")
		}
		if cp := w.checkpoint(s, "acme", w.sweepID()); cp.Line.KilledPages < 3 || cp.Worker != 0 || cp.closed() {
			t.Errorf("checkpoint %+v", cp)
		}
	})
}

func TestBadCredentialsAreInTheLedgerAndTheTokenNowhere(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		const bad = "ghp_revokedSecret"
		w.env["GITHUB_TOKEN"] = bad
		s := w.start()
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		w.finish(s)
		l := w.line("acme")
		if l.Status != event.StatusFailed || l.Reason == nil || !strings.Contains(*l.Reason, "bad credentials") {
			t.Fatalf("ledger line %+v", l)
		}
		if s.github.Err() == nil {
			t.Error("the function does not say why it fails")
		}
		everything := w.log.String() + *l.Reason + s.github.Err().Error() + w.redis.Dump()
		if strings.Contains(everything, bad) || !strings.Contains(everything, "refuses a token") {
			t.Errorf("the log shows the token, or not the failure:\n%s", everything)
		}
	})
}

func TestForbiddenAccessIsInTheLedger(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.github.Fail(nil, nil)
		for range 30 {
			w.github.Fail(emulator.Forbidden)
		}
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		w.finish(s)
		if l := w.line("Acme"); l.Status != event.StatusFailed || l.Reason == nil || !strings.Contains(*l.Reason, "SAML") {
			t.Errorf("ledger line %+v", l)
		}
	})
}

func TestTheCheckpointStaysUntilKafkaHasThePage(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.kafka.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
			request := r.(*kmsg.ProduceRequest)
			response := request.ResponseKind().(*kmsg.ProduceResponse)
			for _, topic := range request.Topics {
				out := kmsg.NewProduceResponseTopic()
				out.Topic, out.TopicID = topic.Topic, topic.TopicID
				for _, p := range topic.Partitions {
					refused := kmsg.NewProduceResponseTopicPartition()
					refused.Partition, refused.ErrorCode = p.Partition, kerr.InvalidRecord.Code
					out.Partitions = append(out.Partitions, refused)
				}
				response.Topics = append(response.Topics, out)
			}
			return response, nil, true
		})
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err == nil {
			t.Fatal("2xx though Kafka refused the page")
		}
		if cp := w.checkpoint(s, "acme", w.sweepID()); cp.Cursor != "" || cp.Line.Pages != 0 {
			t.Errorf("checkpoint %+v", cp)
		}
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		if l := w.line("Acme"); l.Status != event.StatusComplete || l.Seen != 7 {
			t.Errorf("ledger line %+v", l)
		}
	})
}

func TestAForbiddenOwnerAndARefusedTokenLeaveTheOthersAlone(t *testing.T) {
	for name, denial := range map[string]*emulator.Denial{"SAML": emulator.SAML, "classic": emulator.ClassicTokens, "IP allow list": emulator.IPAllowList} {
		bubbled(t, name, func(t *testing.T, w *world) {
			w.env["OWNERS"] = "acme jane nobody"
			w.env["GITHUB_TOKEN"] = "ghp_revoked," + tokenA
			w.github.Change(func(g *emulator.World) { g.Owner("acme").Denies = denial })
			s := w.start()
			w.tick(s, "sweep")
			w.finish(s)
			for owner, want := range map[string]string{"acme": event.StatusFailed, "jane": event.StatusComplete, "nobody": event.StatusUnknownOwner} {
				l := w.line(owner)
				if l.Status != want || (l.Reason == nil) != (want == event.StatusComplete) {
					t.Errorf("ledger line %+v, want %s", l, want)
				}
				if owner == "acme" && (l.Reason == nil || !strings.Contains(*l.Reason, name)) {
					t.Errorf("the ledger does not say why: %+v", l)
				}
			}
			if s.github.Err() != nil {
				t.Error("the function fails though one token is good")
			}
		})
	}
}
