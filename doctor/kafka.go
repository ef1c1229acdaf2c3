package doctor

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
)

type kafkaOnly struct{ kafka.Config }

func kafkaServer(ctx context.Context, of Installation, n *notes) error {
	cfg, err := serve.Load[kafkaOnly](ctx, of.Env)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(append(cfg.Options(), kgo.RetryTimeout(patience/2), kgo.WithLogger(nil))...)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	brokers, err := admin.BrokerMetadata(ctx)
	if err != nil {
		return fmt.Errorf("ask for the brokers: %w", err)
	}
	n.ok("brokers that answer: %d", len(brokers.Brokers))
	return lookAtTopics(ctx, of.Topics, client, admin, len(brokers.Brokers), n)
}

const applyTopics = "apply infra/knative/topics.yaml, or start the stack: it makes what is missing"

func lookAtTopics(ctx context.Context, want []Topic, client *kgo.Client, admin *kadm.Client, brokers int, n *notes) error {
	if len(want) == 0 {
		return nil
	}
	names := make([]string, len(want))
	for i, t := range want {
		names[i] = t.Name
	}
	have, err := admin.ListTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("list the topics: %w", err)
	}
	rights, err := operations(ctx, client, names)
	if err != nil {
		return err
	}
	configs, err := admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return fmt.Errorf("ask for the topics' configuration: %w", err)
	}
	well := 0
	for _, t := range want {
		before := len(n.findings)
		lookAtTopic(t, have[t.Name], brokers, n)
		if allowed, known := rights[t.Name]; known && have[t.Name].Err == nil {
			for _, need := range []kmsg.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationWrite} {
				if allowed&(1<<need) == 0 {
					n.wrong("allow the user READ and WRITE on the topics github.*", "%s: the user may not %s", t.Name, need)
				}
			}
		}
		if got, err := configs.On(t.Name, nil); err == nil && got.Err == nil {
			lookAtTopicConfig(t, got, n)
		}
		if len(n.findings) == before {
			well++
		}
	}
	if well > 0 {
		n.ok("%d of %d topics as the manifests want them", well, len(want))
	}
	return nil
}

func lookAtTopic(want Topic, have kadm.TopicDetail, brokers int, n *notes) {
	switch {
	case errors.Is(have.Err, kerr.UnknownTopicOrPartition):
		n.wrong(applyTopics, "%s is missing", want.Name)
		return
	case errors.Is(have.Err, kerr.TopicAuthorizationFailed):
		n.wrong("allow the user DESCRIBE, READ and WRITE on the topics github.*", "%s: the user may not see it", want.Name)
		return
	case have.Err != nil:
		n.wrong(applyTopics, "%s: %v", want.Name, have.Err)
		return
	}
	if got := len(have.Partitions); got < want.Partitions {
		n.wrong(applyTopics, "%s has %d partitions of %d", want.Name, got, want.Partitions)
	}
	leaderless, behind, alone := 0, 0, 0
	for _, p := range have.Partitions {
		if p.Leader < 0 {
			leaderless++
		}
		if len(p.ISR) < len(p.Replicas) {
			behind++
		}
		if len(p.Replicas) == 1 && brokers > 1 {
			alone++
		}
	}
	if leaderless > 0 {
		n.wrong("bring the brokers back that hold them", "%s: %d partitions have no leader", want.Name, leaderless)
	}
	if behind > 0 {
		n.warning("look at the brokers: one is down or cannot follow", "%s: %d partitions have replicas that are behind", want.Name, behind)
	}
	if alone > 0 {
		n.warning("raise the replication factor to 3", "%s: %d partitions are on one broker of %d only", want.Name, alone, brokers)
	}
}

// lookAtTopicConfig compares what a topic's manifest says with what the broker has: no less retention, no smaller records, no compaction.
func lookAtTopicConfig(want Topic, have kadm.ResourceConfig, n *notes) {
	for _, c := range have.Configs {
		wanted, named := want.Config[c.Key]
		got := c.MaybeValue()
		if !named || got == wanted {
			continue
		}
		least, err1 := strconv.ParseInt(wanted, 10, 64)
		value, err2 := strconv.ParseInt(got, 10, 64)
		switch {
		case err1 != nil || err2 != nil:
			n.wrong(applyTopics, "%s: %s is %s, want %s", want.Name, c.Key, got, wanted)
		case c.Key == "retention.ms" && value < 0: // for ever
		case least < 0 || value < least:
			n.wrong(applyTopics, "%s: %s is %d, want %d or more", want.Name, c.Key, value, least)
		}
	}
}

// operations returns what the user may do with each topic, as a set of bits, of those topics for which the broker says it.
func operations(ctx context.Context, client *kgo.Client, names []string) (map[string]int32, error) {
	ask := kmsg.NewPtrMetadataRequest()
	ask.IncludeTopicAuthorizedOperations = true
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		ask.Topics = append(ask.Topics, t)
	}
	got, err := ask.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("ask what the user may do: %w", err)
	}
	const unsaid = -1 << 31
	out := map[string]int32{}
	for _, t := range got.Topics {
		if t.Topic != nil && t.AuthorizedOperations != unsaid && t.AuthorizedOperations != 0 {
			out[*t.Topic] = t.AuthorizedOperations
		}
	}
	return out, nil
}
