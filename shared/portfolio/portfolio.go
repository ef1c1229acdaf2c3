// Package portfolio is what the functions that read GitHub know together of the
// listed owners and their repositories, in Redis: fetch-org writes both, fetch-events
// reads them.
package portfolio

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// OwnersKey is a hash of the listed owners as JSON, by login.
const OwnersKey = "github:pipeline:owners"

// RepositoriesKey is a hash of an owner's repositories as JSON, by id. Fields that
// are not numbers are of fetch-org's own.
func RepositoriesKey(login string) string { return "github:pipeline:known:" + login }

// Repository is what is read of a repository.
type Repository struct {
	ID       int64      `json:"-"`
	Name     string     `json:"name"` // name_with_owner
	PushedAt *time.Time `json:"pushed"`
}

// Owners returns the logins that are listed, in any order.
func Owners(ctx context.Context, rdb redis.UniversalClient) (logins []string, err error) {
	values, err := rdb.HGetAll(ctx, OwnersKey).Result()
	if err != nil {
		return nil, fmt.Errorf("list the owners: %w", err)
	}
	for login, text := range values {
		var o struct {
			Removed bool `json:"removed"`
		}
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			return nil, fmt.Errorf("list the owners: %s: %w", login, err)
		}
		if !o.Removed {
			logins = append(logins, login)
		}
	}
	return logins, nil
}

// Repositories calls each with an owner's repositories, some hundred at a time; a
// repository may come twice.
func Repositories(ctx context.Context, rdb redis.UniversalClient, login string, each func([]Repository) error) error {
	for cursor := uint64(0); ; {
		values, next, err := rdb.HScan(ctx, RepositoriesKey(login), cursor, "[0-9]*", 500).Result()
		if err != nil {
			return fmt.Errorf("scan the repositories of %s: %w", login, err)
		}
		var some []Repository
		for i := 0; i+1 < len(values); i += 2 {
			var r Repository
			if r.ID, err = strconv.ParseInt(values[i], 10, 64); err == nil {
				err = json.Unmarshal([]byte(values[i+1]), &r)
			}
			if err != nil {
				return fmt.Errorf("decode repository %s of %s: %w", values[i], login, err)
			}
			some = append(some, r)
		}
		if err := each(some); err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// The schedule of the feeds of events: a sorted set of repository ids by when each is
// due, in ms, and hashes of their names and intervals, in s, by id.
const (
	FeedsDue       = "github:pipeline:feeds:due"
	FeedNames      = "github:pipeline:feeds:names"
	FeedIntervals  = "github:pipeline:feeds:intervals"
	feedCheckpoint = "github:pipeline:feed:"
)

// FeedKey is the checkpoint of a repository's feed.
func FeedKey(id int64) string { return feedCheckpoint + strconv.FormatInt(id, 10) }

// ForgetFeeds deletes what is kept of the feeds of some repositories. It is safe to
// repeat.
func ForgetFeeds(ctx context.Context, rdb redis.UniversalClient, ids ...int64) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range ids {
			member := strconv.FormatInt(id, 10)
			p.ZRem(ctx, FeedsDue, member)
			p.HDel(ctx, FeedNames, member)
			p.HDel(ctx, FeedIntervals, member)
			p.Del(ctx, FeedKey(id))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete the feeds of %d repositories: %w", len(ids), err)
	}
	return nil
}
