package knative

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
)

// applyTopics makes the topics that are missing. One that is there with another
// number of partitions is an error: the keys of its records would move.
func (c *Cluster) applyTopics(ctx context.Context) error {
	var names []string
	for _, t := range c.cfg.Topology.Topics {
		names = append(names, t.Name)
	}
	have, err := c.admin.ListTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("list the topics: %w", err)
	}
	for _, t := range c.cfg.Topology.Topics {
		if got := have[t.Name]; got.Err == nil {
			if len(got.Partitions) != int(t.Partitions) {
				return fmt.Errorf("topic %s has %d partitions, the manifests say %d", t.Name, len(got.Partitions), t.Partitions)
			}
			continue
		}
		configs := map[string]*string{}
		for key, value := range t.Config {
			configs[key] = &value
		}
		_, err := c.admin.CreateTopic(ctx, t.Partitions, t.Replicas, configs, t.Name)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", t.Name, err)
		}
	}
	return nil
}
