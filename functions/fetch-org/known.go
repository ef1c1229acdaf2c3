package fetchorg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/repo"
)

const (
	// knownTTL is how long an owner that is not swept is remembered.
	knownTTL = 65 * 24 * time.Hour
	// carriedFor is how long languages, topics, commits and merges are taken to be
	// what they were when nothing says that they changed; spread is added by
	// repository, so that not all are asked for at once.
	carriedFor = 6 * 24 * time.Hour
	spread     = 48 // hours
	// baseline names the last sweep that has read the owner's whole list.
	baseline = "baseline"
	alias    = "name:" // before a name, under which a repository was asked for
)

// known is what is remembered of a repository from one sweep to the next.
type known struct {
	NodeID    string          `json:"node"`
	Name      string          `json:"name"`              // name_with_owner
	First     string          `json:"first"`             // the sweep that saw it first
	Renamed   string          `json:"renamed,omitempty"` // the sweep that last found another name
	PushedAt  *time.Time      `json:"pushed,omitempty"`
	UpdatedAt *time.Time      `json:"updated,omitempty"`
	Branch    string          `json:"branch,omitempty"`
	Languages []repo.Language `json:"languages,omitempty"`
	Topics    []string        `json:"topics,omitempty"`
	DetailsAt time.Time       `json:"details_at"` // when languages and topics were asked
	Commits   *int64          `json:"commits,omitempty"`
	MergedPRs *int64          `json:"merged_prs,omitempty"`
	HistoryAt time.Time       `json:"history_at"` // when commits and merges were asked
}

// hasDetails says whether languages and topics are those of n: it has been
// neither pushed to nor edited since.
func (k *known) hasDetails(n *Counters, now time.Time) bool {
	return k != nil && sameTime(k.PushedAt, n.PushedAt.value()) && sameTime(k.UpdatedAt, n.UpdatedAt.value()) && recent(k.DetailsAt, n, now)
}

// hasHistory says whether commits and merges are those of n: without a push no
// branch gains or loses a commit, and a merge is a push.
func (k *known) hasHistory(n *Counters, now time.Time) bool {
	return k != nil && sameTime(k.PushedAt, n.PushedAt.value()) && k.Branch == n.branch() && recent(k.HistoryAt, n, now)
}

// forget has what was answered implausibly be asked for again in the next sweep.
func (k *known) forget(fields []string) {
	for _, f := range fields {
		switch f {
		case "languages", "topics":
			k.DetailsAt = time.Time{}
		case "merged_prs", "commits_total":
			k.HistoryAt = time.Time{}
		}
	}
}

func recent(at time.Time, n *Counters, now time.Time) bool {
	return now.Sub(at) < carriedFor+time.Duration(*n.DatabaseID%spread)*time.Hour
}

func sameTime(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}

// memory keeps what is known of each owner's repositories in Redis: a hash by
// repository id, about 400 bytes each.
//
// It is the function's own: without it everything is asked for again, and a
// sweep cannot say what is new or gone.
type memory struct{ rdb redis.UniversalClient }

func memoryKey(login string) string { return "github:pipeline:known:" + login }

func field(id int64) string { return strconv.FormatInt(id, 10) }

// recall returns what is known of some repositories, nil for a new one.
func (m *memory) recall(ctx context.Context, login string, ids []int64) (map[int64]*known, error) {
	all := map[int64]*known{}
	if len(ids) == 0 {
		return all, nil
	}
	fields := make([]string, len(ids))
	for i, id := range ids {
		fields[i] = field(id)
	}
	values, err := m.rdb.HMGet(ctx, memoryKey(login), fields...).Result()
	if err != nil {
		return nil, fmt.Errorf("recall %d repositories of %s: %w", len(ids), login, err)
	}
	for i, v := range values {
		text, ok := v.(string)
		if !ok {
			continue
		}
		k := &known{}
		if err := json.Unmarshal([]byte(text), k); err != nil {
			return nil, fmt.Errorf("recall repository %d of %s: %w", ids[i], login, err)
		}
		all[ids[i]] = k
	}
	return all, nil
}

// keep remembers repositories. To do so twice changes nothing.
func (m *memory) keep(ctx context.Context, login string, all map[int64]*known, aliases map[string]int64) error {
	if len(all)+len(aliases) == 0 {
		return nil
	}
	values := make([]any, 0, 2*(len(all)+len(aliases)))
	for id, k := range all {
		text, err := json.Marshal(k)
		if err != nil {
			return fmt.Errorf("encode repository %d of %s: %w", id, login, err)
		}
		values = append(values, field(id), text)
	}
	for name, id := range aliases {
		values = append(values, alias+name, field(id))
	}
	_, err := m.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, memoryKey(login), values...)
		p.Expire(ctx, memoryKey(login), knownTTL)
		return nil
	})
	if err != nil {
		return fmt.Errorf("remember %d repositories of %s: %w", len(all), login, err)
	}
	return nil
}

// drop forgets repositories.
func (m *memory) drop(ctx context.Context, login string, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	fields := make([]string, len(ids))
	for i, id := range ids {
		fields[i] = field(id)
	}
	if err := m.rdb.HDel(ctx, memoryKey(login), fields...).Err(); err != nil {
		return fmt.Errorf("forget %d repositories of %s: %w", len(ids), login, err)
	}
	return nil
}

// complete marks that a sweep has seen the owner's whole list.
func (m *memory) complete(ctx context.Context, login, sweep string) error {
	if err := m.rdb.HSet(ctx, memoryKey(login), baseline, sweep).Err(); err != nil {
		return fmt.Errorf("mark the sweep %s of %s: %w", sweep, login, err)
	}
	return nil
}

// comparable says whether an earlier sweep has seen the owner's whole list, so
// that what is new or gone can be told.
func (m *memory) comparable(ctx context.Context, login string) (bool, error) {
	ok, err := m.rdb.HExists(ctx, memoryKey(login), baseline).Result()
	if err != nil {
		return false, fmt.Errorf("look up earlier sweeps of %s: %w", login, err)
	}
	return ok, nil
}

// named returns the id of the repository that was once found under a name, 0 if
// none was.
func (m *memory) named(ctx context.Context, login, name string) (int64, error) {
	id, err := m.rdb.HGet(ctx, memoryKey(login), alias+name).Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up %s/%s: %w", login, name, err)
	}
	exists, err := m.rdb.HExists(ctx, memoryKey(login), field(id)).Result()
	if err != nil || !exists {
		return 0, err
	}
	return id, nil
}

// each shows all that is known of an owner's repositories, some hundred at a
// time; one may be shown twice.
func (m *memory) each(ctx context.Context, login string, f func(map[int64]*known) error) error {
	for cursor := uint64(0); ; {
		values, next, err := m.rdb.HScan(ctx, memoryKey(login), cursor, "[0-9]*", 500).Result()
		if err != nil {
			return fmt.Errorf("look through the repositories of %s: %w", login, err)
		}
		some := map[int64]*known{}
		for i := 0; i+1 < len(values); i += 2 {
			id, err := strconv.ParseInt(values[i], 10, 64)
			if err != nil {
				return fmt.Errorf("recall a repository of %s: %w", login, err)
			}
			k := &known{}
			if err := json.Unmarshal([]byte(values[i+1]), k); err != nil {
				return fmt.Errorf("recall repository %d of %s: %w", id, login, err)
			}
			some[id] = k
		}
		if err := f(some); err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
