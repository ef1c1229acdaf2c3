package fetchevents

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/lease"
	"github.com/m7pulse/m7pulse/shared/portfolio"
)

// stars has a repository starred n times, a minute apart, the last one now.
func (in *installation) stars(r *emulator.Repo, n int) { in.starsEach(time.Minute, r, n) }

func (in *installation) starsEach(interval time.Duration, r *emulator.Repo, n int) {
	for i := range n {
		in.world.Occur(r, "star", fmt.Sprintf("u%d", i), in.clock.Add(-time.Duration(n-1-i)*interval))
	}
}

func TestAFeedIsReadToTheLastKnownEvent(t *testing.T) {
	world, repos := quiet(1)
	in := install(t, world)
	in.starsEach(90*time.Second, repos[0], 250) // over more than six hours: a page that has nothing new ends a reading
	in.mustWake()
	s := in.stored()
	if len(s.events) != 250 || s.records != 250 || len(s.lines) != 1 || s.bells != 1 {
		t.Fatalf("%d events in %d records, %d lines, %d bells", len(s.events), s.records, len(s.lines), s.bells)
	}
	if l := s.lines[0]; l.Status != feed.StatusComplete || l.Since != nil || l.Events != 250 || l.Requests != 3 || l.Owner != "acme" {
		t.Errorf("first line %+v", l)
	}
	in.mustWake() // nothing is due
	if all, _ := in.asked(); all != 3 {
		t.Fatalf("%d requests, want 3", all)
	}
	first := in.clock
	in.clock = in.clock.Add(2 * time.Hour)
	in.starsEach(90*time.Second, repos[0], 40)
	in.mustWake()
	s = in.stored()
	if all, paid := in.asked(); all != 5 || paid != 5 { // the second page has nothing new
		t.Errorf("%d requests, %d paid, want 5", all, paid)
	}
	if len(s.events) != 290 || s.records != 290 || len(s.lines) != 2 {
		t.Fatalf("%d events in %d records, %d lines", len(s.events), s.records, len(s.lines))
	}
	last := slices.MaxFunc(s.lines, func(a, b *event.FeedRead) int { return a.ReadAt.Compare(b.ReadAt) })
	if last.Events != 40 || last.Status != feed.StatusComplete || last.Since == nil || !last.Since.Equal(first) {
		t.Errorf("second line %+v, want since %s", last, first)
	}
}

func TestAnUnchangedFeedCostsNothingAndIsInTheLedgerOnceADay(t *testing.T) {
	world, repos := quiet(1)
	in := install(t, world)
	in.stars(repos[0], 3)
	in.mustWake()
	_, before := in.asked()
	for range 48 {
		in.clock = in.clock.Add(time.Hour)
		in.mustWake()
	}
	all, paid := in.asked()
	if paid != before || all < 8 {
		t.Errorf("%d requests, %d paid: want no more than %d paid", all, paid, before)
	}
	s := in.stored()
	days := map[string]int{}
	for _, l := range s.lines {
		days[day(l.ReadAt)]++
	}
	if len(days) < 2 || slices.Max(slices.Collect(maps.Values(days))) > 1 || s.records != 3 {
		t.Errorf("lines by day %v, %d records", days, s.records)
	}
}

func TestAnOverrunIsAGapInTheLedger(t *testing.T) {
	world, repos := quiet(1)
	in := install(t, world)
	in.stars(repos[0], 5)
	newest := in.clock
	in.mustWake()
	in.clock = in.clock.Add(24 * time.Hour)
	in.stars(repos[0], 310)
	in.mustWake()
	s := in.stored()
	last := slices.MaxFunc(s.lines, func(a, b *event.FeedRead) int { return a.ReadAt.Compare(b.ReadAt) })
	oldest := in.clock.Add(-299 * time.Minute)
	if last.Status != feed.StatusGap || last.GapFrom == nil || !last.GapFrom.Equal(newest) || !last.GapTo.Equal(oldest) || last.Reason == nil || last.NextSeconds != shortest.Seconds() {
		t.Errorf("line %+v, want a gap from %s to %s, and to be read again soon", last, newest, oldest)
	}
	if len(s.events) != 305 {
		t.Errorf("%d events, want 305", len(s.events))
	}
}

func TestEventsThatAgedOutUnreadAreAGap(t *testing.T) {
	world, repos := quiet(1)
	in := install(t, world)
	in.clock = in.clock.AddDate(0, 0, -40)
	in.stars(repos[0], 5)
	in.mustWake()
	in.clock = in.clock.AddDate(0, 0, 35)
	in.mustWake()
	s := in.stored()
	if l := s.lines; len(l) != 2 || s.lines[0].Status+s.lines[1].Status != feed.StatusComplete+feed.StatusGap && s.lines[1].Status+s.lines[0].Status != feed.StatusComplete+feed.StatusGap {
		t.Errorf("lines %+v, want one complete and one gap", l)
	}
}

// TestAFullWindowThatReachesBackIsNoGap: the boundary of the window.
func TestAFullWindowThatReachesBackIsNoGap(t *testing.T) {
	world, repos := quiet(1)
	in := install(t, world)
	in.stars(repos[0], 5)
	in.mustWake()
	in.clock = in.clock.Add(24 * time.Hour)
	in.stars(repos[0], emulator.FeedEvents-1)
	in.mustWake()
	for _, l := range in.stored().lines {
		if l.Status != feed.StatusComplete {
			t.Errorf("line %+v", l)
		}
	}
}

// TestALateEventBelowAnUnchangedPageIsFound once the whole window is read again.
func TestALateEventBelowAnUnchangedPageIsFound(t *testing.T) {
	world, repos := quiet(1)
	in := install(t, world)
	in.stars(repos[0], 250)
	in.mustWake()
	world.Occur(repos[0], "fork", "eve", in.clock.Add(-240*time.Minute))
	for range 20 {
		in.clock = in.clock.Add(time.Hour)
		in.mustWake()
	}
	if s := in.stored(); len(s.events) != 251 {
		t.Errorf("%d events, want the late one too", len(s.events))
	}
}

// TestWhatWasReadBeforeACrashIsReadAgainUnderTheSameKeys: the process ends after its
// events are in Kafka and before the checkpoint has moved.
func TestWhatWasReadBeforeACrashIsReadAgainUnderTheSameKeys(t *testing.T) {
	world, repos := quiet(1)
	in := install(t, world)
	in.stars(repos[0], 50)
	in.mustWake()
	// The checkpoint is as if it had never been saved.
	in.redis.Del(portfolio.FeedKey(repos[0].ID))
	if _, err := in.redis.ZAdd(portfolio.FeedsDue, 0, fmt.Sprint(repos[0].ID)); err != nil {
		t.Fatal(err)
	}
	in.start()
	in.mustWake()
	s := in.stored()
	if len(s.events) != 50 || s.records != 100 {
		t.Errorf("%d events in %d records, want 50 in 100", len(s.events), s.records)
	}
	if len(s.lines) != 2 || s.lines[0].Since != nil || s.lines[1].Since != nil {
		t.Errorf("lines %+v, want two of the same Since", s.lines)
	}
}

func TestOneOfTwoProcessesReadsAtATime(t *testing.T) {
	world, repos := quiet(3)
	in := install(t, world)
	in.stars(repos[0], 5)
	held, err := lease.Acquire(t.Context(), in.rdb, lockKey, leaseTTL)
	if err != nil {
		t.Fatal(err)
	}
	in.mustWake()
	if all, _ := in.asked(); all != 0 {
		t.Errorf("%d requests though another process has the lease", all)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	in.mustWake()
	if all, _ := in.asked(); all != 3 {
		t.Errorf("%d requests, want 3", all)
	}
}

func TestAnOvertakenProcessMovesNoCheckpoint(t *testing.T) {
	world, repos := quiet(1)
	in := install(t, world)
	in.stars(repos[0], 5)
	in.mustWake()
	s := in.function.schedule
	cp, err := s.load(t.Context(), repos[0].ID)
	if err != nil || cp == nil {
		t.Fatal(cp, err)
	}
	newer, err := lease.Acquire(t.Context(), in.rdb, lockKey, leaseTTL)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.save(t.Context(), repos[0].ID, newer.Token(), cp, in.clock); err != nil {
		t.Fatal(err)
	}
	if err := s.save(t.Context(), repos[0].ID, newer.Token()-1, &checkpoint{}, in.clock); !errors.Is(err, errFenced) {
		t.Errorf("an older process saved a checkpoint: %v", err)
	}
}

func TestTheMostOverdueIsReadFirst(t *testing.T) {
	now := time.Now()
	list := []*due{
		{id: 1, at: now.Add(-2 * time.Hour), interval: 6 * time.Hour},
		{id: 2, at: now.Add(-20 * time.Minute), interval: 5 * time.Minute},
		{id: 3, at: now.Add(-time.Hour), interval: time.Hour},
	}
	slices.SortFunc(list, overdue(now))
	if list[0].id != 2 || list[1].id != 3 || list[2].id != 1 {
		t.Errorf("order %d, %d, %d; want 2, 3, 1", list[0].id, list[1].id, list[2].id)
	}
}

func TestAtTheLimitTheRestWaitsAndNothingIsLost(t *testing.T) {
	world, repos := quiet(20)
	in := install(t, world)
	in.clock = time.Now().UTC()       // the limit's
	in.github.SetRequests(token, 110) // 100 are left to the user, and one asks who it is
	for _, r := range repos {
		in.stars(r, 3)
	}
	in.mustWake()
	all, _ := in.asked()
	if all > 10 || in.github.Breaches() > 0 {
		t.Errorf("%d requests, %d breaches", all, in.github.Breaches())
	}
	in.github.SetRequests(token, 5000)
	in.rdb.FlushAll(t.Context()) // with the budget goes the schedule: it is made again
	in.list("acme")
	in.mustWake()
	if s := in.stored(); len(s.events) != 60 {
		t.Errorf("%d events, want 60", len(s.events))
	}
}

func TestARenamedRepositoryIsReadOnAndAGoneOneIsLeftAlone(t *testing.T) {
	world, repos := quiet(2)
	in := install(t, world)
	in.stars(repos[0], 3)
	in.github.Change(func(*emulator.World) { repos[0].Name = "other"; repos[1].Private = true })
	in.mustWake()
	s := in.stored()
	if len(s.events) != 3 || len(s.lines) != 2 {
		t.Fatalf("%d events, %d lines", len(s.events), len(s.lines))
	}
	failed := slices.IndexFunc(s.lines, func(l *event.FeedRead) bool { return l.Status == feed.StatusFailed })
	if failed < 0 || s.lines[failed].RepoID != repos[1].ID || s.lines[failed].Reason == nil {
		t.Errorf("lines %+v, want one failed", s.lines)
	}
	all, _ := in.asked()
	in.clock = in.clock.Add(time.Hour)
	in.mustWake()
	if again, _ := in.asked(); again > all+1 {
		t.Errorf("%d more requests, though one repository is gone", again-all)
	}
}

func TestAnOwnerThatIsNoLongerListedIsNoLongerRead(t *testing.T) {
	world, repos := quiet(1)
	in := install(t, world)
	in.stars(repos[0], 3)
	in.mustWake()
	in.redis.HSet(portfolio.OwnersKey, "acme", `{"login":"acme","removed":true}`)
	in.redis.FastForward(enrolAgain)
	in.clock = in.clock.Add(24 * time.Hour)
	before, _ := in.asked()
	in.mustWake()
	if after, _ := in.asked(); after != before {
		t.Errorf("%d requests for an owner that was removed", after-before)
	}
	if in.redis.Exists(portfolio.FeedKey(repos[0].ID)) {
		t.Error("its checkpoint is kept")
	}
}

func TestFaultsOfGitHubDelayAndLoseNothing(t *testing.T) {
	world, repos := quiet(10)
	in := install(t, world)
	for _, r := range repos {
		in.stars(r, 150)
	}
	in.github.Fail(nil, emulator.Unavailable, emulator.Garbage, emulator.Cut(.5), emulator.Maintenance, nil, emulator.Killed)
	for range 30 {
		if err := in.wake(); err != nil && errors.Is(err, event.ErrInvalid) {
			t.Fatal(err)
		}
		in.clock = in.clock.Add(5 * time.Minute)
	}
	if s := in.stored(); len(s.events) != 1500 {
		t.Errorf("%d events, want 1500", len(s.events))
	}
}

func TestARefusedTokenIsSaidAndTheTickIsToComeAgain(t *testing.T) {
	world, repos := quiet(1)
	in := install(t, world)
	in.stars(repos[0], 3)
	in.github.Fail(nil, emulator.Unauthorized)
	if err := in.wake(); err == nil || errors.Is(err, event.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if in.function.Status().Failing == "" {
		t.Error("the status does not say so")
	}
}

func TestWithoutATokenATickIsRefused(t *testing.T) {
	world, _ := quiet(1)
	in := install(t, world)
	in.cfg.GitHub.Tokens = ""
	in.start()
	if err := in.wake(); err == nil || errors.Is(err, event.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if in.function.Status().Failing == "" {
		t.Error("the status does not say so")
	}
}

func TestMoreThanOneHandlersTimeAsksToBeSentAgain(t *testing.T) {
	world, repos := quiet(1)
	in := install(t, world)
	in.stars(repos[0], 3)
	if err := in.function.pass(context.Background(), time.Now().Add(-readFor), 1); !errors.Is(err, kafka.ErrBehind) {
		t.Errorf("got %v", err)
	}
}

// TestRedisNamesNobodyWhoActs: what a reading leaves there are hashes of events, so
// nothing has to be deleted there for a person to be forgotten.
func TestRedisNamesNobodyWhoActs(t *testing.T) {
	world, repos := quiet(1)
	in := install(t, world)
	in.world.Occur(repos[0], "push", "grace-hopper", in.clock)
	in.world.Occur(repos[0], "open issue", "grace-hopper", in.clock)
	in.mustWake()
	if s := in.stored(); len(s.events) != 2 {
		t.Fatalf("%d events, want 2", len(s.events))
	}
	dump := in.redis.Dump()
	if !strings.Contains(dump, portfolio.FeedKey(repos[0].ID)) {
		t.Error("the checkpoint of the feed is not there")
	}
	if strings.Contains(dump, "grace-hopper") {
		t.Errorf("Redis names who acted: %s", dump)
	}
}
