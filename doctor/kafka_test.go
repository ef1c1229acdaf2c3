package doctor

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/infra/knative"
)

// A user of a Kafka with access control, who lacks one right at a time.
func TestKafkaRightsThatAreMissingAreNamed(t *testing.T) {
	allow := func(resource kmsg.ACLResourceType, name string, operations ...kmsg.ACLOperation) (out []kfake.ACL) {
		for _, o := range operations {
			out = append(out, kfake.ACL{Resource: resource, Name: name, Pattern: kmsg.ACLResourcePatternTypePrefixed, Operation: o, Allow: true})
		}
		return out
	}
	const topic = "github.base_repos"
	read, write, describe := kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe
	rights := map[string][]kfake.ACL{
		"topics":       allow(kmsg.ACLResourceTypeTopic, "github.", read, write, describe, kmsg.ACLOperationDescribeConfigs),
		"group":        allow(kmsg.ACLResourceTypeGroup, aggregate.Group, read, describe),
		"transactions": allow(kmsg.ACLResourceTypeTransactionalId, aggregate.Group, write, describe),
		"cluster":      allow(kmsg.ACLResourceTypeCluster, "kafka-cluster", describe),
	}
	for name, test := range map[string]struct {
		without string
		instead []kfake.ACL
		seen    string
	}{
		"nothing":                    {seen: ""},
		"the group":                  {"group", nil, "group m7pulse-aggregate: the user may not see it"},
		"reading in the group":       {"group", allow(kmsg.ACLResourceTypeGroup, aggregate.Group, describe), "group m7pulse-aggregate: the user may not READ"},
		"transactions":               {"transactions", nil, "transactions of m7pulse-aggregate: the user may not see them"},
		"writing to topics":          {"topics", allow(kmsg.ACLResourceTypeTopic, "github.", read, describe, kmsg.ACLOperationDescribeConfigs), topic + ": the user may not WRITE"},
		"topics":                     {"topics", nil, "the user may not see all of the topics"},
		"the rights of another user": {"everything", nil, "the user may not see all of the topics"},
	} {
		t.Run(name, func(t *testing.T) {
			var acls []kfake.ACL
			for of, some := range rights {
				if of != test.without && test.without != "everything" {
					acls = append(acls, some...)
				}
			}
			acls = append(acls, test.instead...)
			broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(12, topic), kfake.EnableACLs(), kfake.EnableSASL(), kfake.User("PLAIN", "pulse", "secret", acls...))
			if err != nil {
				t.Fatal(err)
			}
			defer broker.Close()
			n := &notes{subject: "kafka"}
			err = kafkaServer(t.Context(), Installation{
				Env:    map[string]string{"KAFKA_BROKERS": broker.ListenAddrs()[0], "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USER": "pulse", "KAFKA_SASL_PASSWORD": "secret"},
				Topics: []knative.Topic{{Name: topic, Partitions: 12}},
			}, n)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range n.findings {
				if test.seen == "" && f.Verdict == Wrong {
					t.Errorf("of a user with all rights: %+v", f)
				}
				if test.seen != "" && f.Verdict == Wrong && strings.Contains(f.Seen, test.seen) && f.Cure != "" {
					return
				}
			}
			if test.seen != "" {
				t.Errorf("%q is not among %+v", test.seen, n.findings)
			}
		})
	}
}
