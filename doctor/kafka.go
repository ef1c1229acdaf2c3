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

	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/infra/knative"
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
	if err := lookAtGroup(ctx, client, n); err != nil {
		return err
	}
	return lookAtTopics(ctx, of.Topics, client, admin, len(brokers.Brokers), n)
}

// lookAtGroup asks what the user may do with aggregate's consumer group and its
// transactions. The other functions read without a group, and write without one.
func lookAtGroup(ctx context.Context, client *kgo.Client, n *notes) error {
	const cure = "allow the user READ and DESCRIBE on the group " + aggregate.Group
	ask := kmsg.NewPtrDescribeGroupsRequest()
	ask.Groups, ask.IncludeAuthorizedOperations = []string{aggregate.Group}, true
	for _, shard := range client.RequestSharded(ctx, ask) {
		if errors.Is(shard.Err, kerr.GroupAuthorizationFailed) { // whoever may not see it may not look for its broker either
			n.wrong(cure, "group %s: the user may not see it", aggregate.Group)
			continue
		}
		if shard.Err != nil {
			return fmt.Errorf("ask what the user may do with the group %s: %w", aggregate.Group, shard.Err)
		}
		for _, g := range shard.Resp.(*kmsg.DescribeGroupsResponse).Groups {
			err := kerr.ErrorForCode(g.ErrorCode)
			switch {
			case errors.Is(err, kerr.GroupAuthorizationFailed):
				n.wrong(cure, "group %s: the user may not see it", g.Group)
			case err != nil && !errors.Is(err, kerr.GroupIDNotFound): // it is made with the first bell
				return fmt.Errorf("ask what the user may do with the group %s: %w", g.Group, err)
			case g.AuthorizedOperations != unsaid && g.AuthorizedOperations != 0 && g.AuthorizedOperations&(1<<kmsg.ACLOperationRead) == 0:
				n.wrong(cure, "group %s: the user may not %s", g.Group, kmsg.ACLOperationRead)
			}
		}
	}
	return lookAtTransactions(ctx, client, n)
}

// lookAtTransactions asks for a transaction that need not be there: a user who may not
// see it may not write in it either.
func lookAtTransactions(ctx context.Context, client *kgo.Client, n *notes) error {
	const cure = "allow the user WRITE and DESCRIBE on the transactional ids " + aggregate.Group + "-*"
	ask := kmsg.NewPtrDescribeTransactionsRequest()
	ask.TransactionalIDs = []string{aggregate.Group + "-0"}
	for _, shard := range client.RequestSharded(ctx, ask) {
		if errors.Is(shard.Err, kerr.UnsupportedVersion) {
			return nil // before Kafka 3.0 it cannot be asked
		}
		if errors.Is(shard.Err, kerr.TransactionalIDAuthorizationFailed) {
			n.wrong(cure, "transactions of %s: the user may not see them", aggregate.Group)
			continue
		}
		if shard.Err != nil {
			return fmt.Errorf("ask for the transactions of %s: %w", aggregate.Group, shard.Err)
		}
		for _, t := range shard.Resp.(*kmsg.DescribeTransactionsResponse).TransactionStates {
			if errors.Is(kerr.ErrorForCode(t.ErrorCode), kerr.TransactionalIDAuthorizationFailed) {
				n.wrong(cure, "transactions of %s: the user may not see them", aggregate.Group)
			}
		}
	}
	return nil
}

// unsaid is what a broker answers that does not say what a user may do.
const unsaid = -1 << 31

const applyTopics = "apply infra/knative/topics.yaml, or start the stack: it makes what is missing"

func lookAtTopics(ctx context.Context, want []knative.Topic, client *kgo.Client, admin *kadm.Client, brokers int, n *notes) error {
	if len(want) == 0 {
		return nil
	}
	names := make([]string, len(want))
	for i, t := range want {
		names[i] = t.Name
	}
	have, err := admin.ListTopics(ctx, names...)
	if denied := new(kadm.AuthError); errors.As(err, &denied) {
		n.wrong("allow the user DESCRIBE, DESCRIBE_CONFIGS, READ and WRITE on the topics github.*", "the user may not see all of the topics")
		return nil
	}
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

func lookAtTopic(want knative.Topic, have kadm.TopicDetail, brokers int, n *notes) {
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
func lookAtTopicConfig(want knative.Topic, have kadm.ResourceConfig, n *notes) {
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
	out := map[string]int32{}
	for _, t := range got.Topics {
		if t.Topic != nil && t.AuthorizedOperations != unsaid && t.AuthorizedOperations != 0 {
			out[*t.Topic] = t.AuthorizedOperations
		}
	}
	return out, nil
}
