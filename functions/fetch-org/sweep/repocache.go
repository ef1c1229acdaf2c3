package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	"github.com/m7pulse/m7pulse/shared/repo"
)

const (
	cachedFor = 65 * 24 * time.Hour
	// carriedFor is how long languages, topics, commits and merges are carried over
	// while nothing says that they have changed; up to spread hours are added, by
	// repository, so that not all are asked for at once.
	carriedFor = 6 * 24 * time.Hour
	spread     = 48 // hours
	// baseline is the field that names the last sweep that came to the end of the list.
	baseline = "baseline"
	// whole is the field that names the choice whose sweep was complete.
	whole = "whole"
	// ended is the field that holds the status of the last sweep.
	ended = "ended"
	alias = "name:" // prefix of a name under which a repository was asked for
)

// cachedRepo is what is remembered of a repository from one sweep to the next.
type cachedRepo struct {
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

// hasDetails says whether the cached languages and topics are still those of n:
// it has been neither pushed to nor edited since.
func (k *cachedRepo) hasDetails(n *github.Counters, now time.Time) bool {
	return k != nil && sameTime(k.PushedAt, n.Pushed()) && sameTime(k.UpdatedAt, n.Updated()) && recent(k.DetailsAt, n, now)
}

// hasHistory says whether the cached commits and merges are still those of n:
// without a push no branch gains or loses a commit, and a merge is a push.
func (k *cachedRepo) hasHistory(n *github.Counters, now time.Time) bool {
	return k != nil && sameTime(k.PushedAt, n.Pushed()) && k.Branch == n.Branch() && recent(k.HistoryAt, n, now)
}

// forget makes the next sweep ask again for fields that were implausible.
func (k *cachedRepo) forget(fields []string) {
	for _, f := range fields {
		switch f {
		case "languages", "topics":
			k.DetailsAt = time.Time{}
		case "merged_prs", "commits_total":
			k.HistoryAt = time.Time{}
		}
	}
}

func recent(at time.Time, n *github.Counters, now time.Time) bool {
	return now.Sub(at) < carriedFor+time.Duration(*n.DatabaseID%spread)*time.Hour
}

func sameTime(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}

// repoCache keeps the repositories of each owner in Redis: a hash by repository
// id, about 400 bytes each.
//
// It can be lost: then everything is asked for again, a sweep cannot say what is new
// or gone, and the signal of a sweep that ended as the one before is raised again.
type repoCache struct{ rdb redis.UniversalClient }

// recall returns the cached of some repositories; a new one is left out.
func (c *repoCache) recall(ctx context.Context, login string, ids []int64) (map[int64]*cachedRepo, error) {
	all := map[int64]*cachedRepo{}
	if len(ids) == 0 {
		return all, nil
	}
	fields := make([]string, len(ids))
	for i, id := range ids {
		fields[i] = field(id)
	}
	values, err := c.rdb.HMGet(ctx, repoCacheKey(login), fields...).Result()
	if err != nil {
		return nil, fmt.Errorf("read %d cached repositories of %s: %w", len(ids), login, err)
	}
	for i, v := range values {
		text, ok := v.(string)
		if !ok {
			continue
		}
		k := &cachedRepo{}
		if err := json.Unmarshal([]byte(text), k); err != nil {
			return nil, fmt.Errorf("decode cached repository %d of %s: %w", ids[i], login, err)
		}
		all[ids[i]] = k
	}
	return all, nil
}

// keep stores repositories. It is safe to repeat.
func (c *repoCache) keep(ctx context.Context, login string, all map[int64]*cachedRepo, aliases map[string]int64) error {
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
	_, err := c.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, repoCacheKey(login), values...)
		p.Expire(ctx, repoCacheKey(login), cachedFor)
		return nil
	})
	if err != nil {
		return fmt.Errorf("cache %d repositories of %s: %w", len(all), login, err)
	}
	return nil
}

// drop deletes repositories.
func (c *repoCache) drop(ctx context.Context, login string, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	fields := make([]string, len(ids))
	for i, id := range ids {
		fields[i] = field(id)
	}
	if err := c.rdb.HDel(ctx, repoCacheKey(login), fields...).Err(); err != nil {
		return fmt.Errorf("delete %d cached repositories of %s: %w", len(ids), login, err)
	}
	return nil
}

// complete marks that a sweep has come to the end of the owner's list.
func (c *repoCache) complete(ctx context.Context, login, sweep string) error {
	return c.set(ctx, login, baseline, sweep)
}

// comparable says whether an earlier sweep has come to the end of the owner's list, so
// that new and gone repositories can be recognised.
func (c *repoCache) comparable(ctx context.Context, login string) (bool, error) {
	sweep, err := c.get(ctx, login, baseline)
	return sweep != "", err
}

// wasWhole says whether an earlier sweep was complete, of the same choice of
// repositories.
func (c *repoCache) wasWhole(ctx context.Context, login, choice string) (bool, error) {
	of, err := c.get(ctx, login, whole)
	return err == nil && of == choice, err
}

// get reads a field of an owner, "" if there is none.
func (c *repoCache) get(ctx context.Context, login, name string) (string, error) {
	value, err := c.rdb.HGet(ctx, repoCacheKey(login), name).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("look up earlier sweeps of %s: %w", login, err)
	}
	return value, nil
}

// set writes a field of an owner. It is safe to repeat.
func (c *repoCache) set(ctx context.Context, login, name, value string) error {
	_, err := c.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, repoCacheKey(login), name, value)
		p.Expire(ctx, repoCacheKey(login), cachedFor)
		return nil
	})
	if err != nil {
		return fmt.Errorf("note %s %q of %s: %w", name, value, login, err)
	}
	return nil
}

// named returns the id of the repository that was once found under a name, 0 if
// none was.
func (c *repoCache) named(ctx context.Context, login, name string) (int64, error) {
	id, err := c.rdb.HGet(ctx, repoCacheKey(login), alias+name).Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up %s/%s: %w", login, name, err)
	}
	exists, err := c.rdb.HExists(ctx, repoCacheKey(login), field(id)).Result()
	if err != nil || !exists {
		return 0, err
	}
	return id, nil
}

// each calls f with an owner's cached repositories, some hundred at a time; a
// repository may come twice.
func (c *repoCache) each(ctx context.Context, login string, f func(map[int64]*cachedRepo) error) error {
	for cursor := uint64(0); ; {
		values, next, err := c.rdb.HScan(ctx, repoCacheKey(login), cursor, "[0-9]*", 500).Result()
		if err != nil {
			return fmt.Errorf("scan the cached repositories of %s: %w", login, err)
		}
		some := map[int64]*cachedRepo{}
		for i := 0; i+1 < len(values); i += 2 {
			id, err := strconv.ParseInt(values[i], 10, 64)
			if err != nil {
				return fmt.Errorf("decode a cached repository of %s: %w", login, err)
			}
			k := &cachedRepo{}
			if err := json.Unmarshal([]byte(values[i+1]), k); err != nil {
				return fmt.Errorf("decode cached repository %d of %s: %w", id, login, err)
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
