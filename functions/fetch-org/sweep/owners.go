package sweep

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/portfolio"
	"github.com/m7pulse/m7pulse/shared/redisclient"
)

// Owners is the list of owners to sweep, in Redis: what was configured, and what
// was added and removed since. A change takes effect with the next tick.
type Owners struct{ rdb redis.UniversalClient }

// ErrNotListed says that an owner is not on the list.
var ErrNotListed = errors.New("not listed")

// ownersKey is a hash of owners as JSON, by login.
const ownersKey = portfolio.OwnersKey

// OpenOwners opens the list at an address of Redis.
func OpenOwners(redisURL string) (*Owners, error) {
	rdb, err := openRedis(redisURL)
	if err != nil {
		return nil, err
	}
	return &Owners{rdb}, nil
}

func openRedis(address string) (redis.UniversalClient, error) {
	rdb, err := redisclient.New(address)
	if err != nil {
		return nil, fmt.Errorf("invalid REDIS_URL: %w", err)
	}
	return rdb, nil
}

// Close ends the connection.
func (l *Owners) Close() error { return l.rdb.Close() }

// List returns the owners that are swept, by login.
func (l *Owners) List(ctx context.Context) ([]Owner, error) {
	all, err := readOwners(ctx, l.rdb)
	if err != nil {
		return nil, err
	}
	var swept []Owner
	for _, o := range all {
		if !o.Removed {
			swept = append(swept, o)
		}
	}
	slices.SortFunc(swept, func(a, b Owner) int { return strings.Compare(a.Login, b.Login) })
	return swept, nil
}

func readOwners(ctx context.Context, rdb redis.Cmdable) (Roster, error) {
	values, err := rdb.HGetAll(ctx, ownersKey).Result()
	if err != nil {
		return nil, fmt.Errorf("list the owners: %w", err)
	}
	all := Roster{}
	for login, text := range values {
		var o Owner
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			return nil, fmt.Errorf("list the owners: %s: %w", login, err)
		}
		all[login] = o
	}
	return all, nil
}

// Get returns one owner; one that is not listed has its login only.
func (l *Owners) Get(ctx context.Context, login string) (Owner, error) {
	o := Owner{Login: login}
	text, err := l.rdb.HGet(ctx, ownersKey, login).Bytes()
	if errors.Is(err, redis.Nil) {
		return o, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	if err != nil {
		return o, fmt.Errorf("look up owner %s: %w", login, err)
	}
	return o, nil
}

// Add lists an owner, or changes one that is listed. What o leaves out (company,
// patterns) stays as it was; a repository by name joins those of its owner.
func (l *Owners) Add(ctx context.Context, o Owner) error {
	o, err := o.normal()
	if err != nil {
		return err
	}
	return l.change(ctx, func(all Roster) (Roster, error) {
		added := o // change may call this function again
		was, ok := all[o.Login]
		if ok && !was.Removed && len(o.Repos) > 0 {
			if len(was.Repos) == 0 {
				return nil, fmt.Errorf("all repositories of %s are swept already", o.Login)
			}
			added.Repos = slices.Concat(was.Repos, o.Repos)
		}
		if ok && !was.Removed {
			added.Company = cmp.Or(o.Company, was.Company)
			if len(o.Include)+len(o.Exclude)+len(added.Repos) == 0 {
				added.Include, added.Exclude = was.Include, was.Exclude
			}
		}
		if added, err = added.normal(); err != nil {
			return nil, err
		}
		if !ok && len(all) >= maxOwners {
			return nil, fmt.Errorf("%d owners are listed already: no more are supported", len(all))
		}
		return Roster{o.Login: added}, nil
	})
}

// Remove takes an owner off the list, and keeps it off even if it is configured.
func (l *Owners) Remove(ctx context.Context, login string) error {
	login = strings.ToLower(login)
	return l.change(ctx, func(all Roster) (Roster, error) {
		was, ok := all[login]
		if !ok || was.Removed {
			return nil, fmt.Errorf("owner %s: %w", login, ErrNotListed)
		}
		was.Removed = true
		return Roster{login: was}, nil
	})
}

// seed brings the list in line with the configuration: owners that are new there
// are added, those that are no longer there dropped. What was added or removed by
// hand stays as it is.
func (l *Owners) seed(ctx context.Context, configured Roster) error {
	return l.change(ctx, func(all Roster) (Roster, error) {
		changed := Roster{}
		for login, o := range configured {
			o.Seeded = true
			was, ok := all[login]
			if !ok || was.Seeded && !was.Removed && !reflect.DeepEqual(was, o) {
				changed[login] = o
			}
		}
		for login, o := range all {
			if _, ok := configured[login]; !ok && o.Seeded && !o.Removed {
				changed[login] = Owner{} // change deletes it
			}
		}
		return changed, nil
	})
}

// change reads the list and writes what f makes of it, unless another process has
// changed it meanwhile; then it tries again, ten times in all.
func (l *Owners) change(ctx context.Context, f func(Roster) (Roster, error)) error {
	for range 10 {
		err := l.rdb.Watch(ctx, func(tx *redis.Tx) error {
			all, err := readOwners(ctx, tx)
			if err != nil {
				return err
			}
			changed, err := f(all)
			if err != nil || len(changed) == 0 {
				return err
			}
			_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
				for login, o := range changed {
					if o.Login == "" {
						p.HDel(ctx, ownersKey, login)
						continue
					}
					text, err := json.Marshal(o)
					if err != nil {
						return fmt.Errorf("encode owner %s: %w", login, err)
					}
					p.HSet(ctx, ownersKey, login, text)
				}
				return nil
			})
			return err
		}, ownersKey)
		if !errors.Is(err, redis.TxFailedErr) {
			return err
		}
	}
	return errors.New("change the list of owners: others keep changing it; try again")
}
