// Command dns answers for the names of a cluster's Services, as CoreDNS would: by
// their addresses, by those of their endpoints where they have none, and by another
// name where that is all they are.
//
//	dns KUBECONFIG ADDRESS
package main

import (
	"context"
	"log"
	"net"
	"os"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	core "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/clientcmd"
)

const zone = ".svc.cluster.local."

// resolver knows the Services and their endpoints.
type resolver struct {
	services core.ServiceLister
	slices   discoverylisters.EndpointSliceLister
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: dns KUBECONFIG ADDRESS")
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	r := resolver{factory.Core().V1().Services().Lister(), factory.Discovery().V1().EndpointSlices().Lister()}
	ctx := context.Background()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	conn, err := net.ListenPacket("udp", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	for query := make([]byte, 1500); ; {
		n, from, err := conn.ReadFrom(query)
		if err != nil {
			log.Fatal(err)
		}
		answer, err := r.answer(query[:n])
		if err == nil {
			_, err = conn.WriteTo(answer, from)
		}
		if err != nil {
			log.Print(err)
		}
	}
}

func (r resolver) answer(query []byte) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	question, err := p.Question()
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired, RecursionAvailable: true},
		Questions: []dnsmessage.Question{question},
	}
	if !r.resolve(&m, strings.ToLower(question.Name.String()), question.Type, 0) {
		m.RCode = dnsmessage.RCodeNameError
	}
	return m.Pack()
}

// maxAliases is how many names one may lead to, one after the other.
const maxAliases = 4

// resolve adds the answers for a name, and reports whether there is such a Service.
func (r resolver) resolve(m *dnsmessage.Message, name string, kind dnsmessage.Type, aliases int) bool {
	service, ok := strings.CutSuffix(name, zone)
	if !ok || aliases > maxAliases {
		return false
	}
	service, namespace, ok := strings.Cut(service, ".")
	if !ok {
		return false
	}
	s, err := r.services.Services(namespace).Get(service)
	if err != nil {
		return false
	}
	header := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: 1}
	add := func(address string) {
		if ip := net.ParseIP(address).To4(); ip != nil && kind == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: [4]byte(ip)}})
		}
	}
	switch {
	case s.Spec.ExternalName != "":
		other := strings.TrimSuffix(s.Spec.ExternalName, ".") + "."
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(other)}})
		r.resolve(m, other, kind, aliases+1)
	case s.Spec.ClusterIP == "None":
		slices, err := r.slices.EndpointSlices(namespace).List(labels.Set{discovery.LabelServiceName: service}.AsSelector())
		if err != nil {
			return false
		}
		for _, slice := range slices {
			for _, endpoint := range slice.Endpoints {
				for _, address := range endpoint.Addresses {
					add(address)
				}
			}
		}
	default:
		add(s.Spec.ClusterIP)
	}
	return true
}
