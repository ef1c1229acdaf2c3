package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/event"
)

// failedKey is a hash of the owners whose last sweep failed, by login.
const failedKey = "github:pipeline:failed"

// Failure is the last sweep of an owner, if GitHub would not answer for it at all.
type Failure struct {
	Owner   string `json:"owner"`
	SweepID string `json:"sweep_id"`
	Reason  string `json:"reason"`
}

// Failed lists the owners on the list whose last sweep failed, by login.
func (l *Owners) Failed(ctx context.Context) ([]Failure, error) {
	failed, err := l.failures(ctx)
	if err != nil || len(failed) == 0 {
		return nil, err
	}
	owners, err := l.List(ctx)
	if err != nil {
		return nil, err
	}
	var all []Failure
	for _, o := range owners {
		if f, ok := failed[o.Login]; ok {
			all = append(all, f)
		}
	}
	return all, nil
}

// failures reads the hash.
func (l *Owners) failures(ctx context.Context) (map[string]Failure, error) {
	values, err := l.rdb.HGetAll(ctx, failedKey).Result()
	if err != nil {
		return nil, fmt.Errorf("list the failed sweeps: %w", err)
	}
	all := map[string]Failure{}
	for login, text := range values {
		var f Failure
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			return nil, fmt.Errorf("list the failed sweeps: %s: %w", login, err)
		}
		all[login] = f
	}
	return all, nil
}

// ended notes how an owner's sweep ended, unless a later one is noted. The owner's
// lease keeps other handlers from doing the same meanwhile.
func (l *Owners) ended(ctx context.Context, login string, line *event.OwnerSwept) error {
	text, err := l.rdb.HGet(ctx, failedKey, login).Bytes()
	noted := err == nil
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("look up the last failure of %s: %w", login, err)
	}
	var last Failure
	if noted {
		if err := json.Unmarshal(text, &last); err != nil {
			return fmt.Errorf("look up the last failure of %s: %w", login, err)
		}
	}
	switch {
	case last.SweepID > line.SweepID, !noted && line.Status != event.StatusFailed:
		return nil
	case line.Status != event.StatusFailed:
		err = l.rdb.HDel(ctx, failedKey, login).Err()
	default:
		f := Failure{Owner: line.Owner, SweepID: line.SweepID}
		if line.Reason != nil {
			f.Reason = *line.Reason
		}
		if text, err = json.Marshal(f); err == nil {
			err = l.rdb.HSet(ctx, failedKey, login, text).Err()
		}
	}
	if err != nil {
		return fmt.Errorf("note how the sweep of %s ended: %w", login, err)
	}
	return nil
}
