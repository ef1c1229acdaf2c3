// Command ingress is the smallest ingress for Knative. It keeps a table of the routes
// that networking.internal.knative.dev Ingresses of its class ask for, proxies
// HTTP/1.1 and HTTP/2 without TLS by it, and marks an Ingress as ready once the table
// has it. There may be one of it, as it does not ask others whether they have it too.
package main

import (
	"context"
	"fmt"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/networking/pkg/client/clientset/versioned"
	"knative.dev/networking/pkg/client/informers/externalversions"
)

const (
	class   = "m7pulse.ingress.networking.knative.dev"
	public  = "public.ingress.svc.cluster.local"  // the Service before :8080
	private = "private.ingress.svc.cluster.local" // the Service before :8081
)

// table is the routes by the host that a request asks for.
type table struct {
	public, private map[string][]v1alpha1.HTTPIngressPath
}

func main() {
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	client, err := versioned.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	var current atomic.Pointer[table]
	current.Store(&table{})
	go serve(":8080", func() map[string][]v1alpha1.HTTPIngressPath { return current.Load().public })
	go serve(":8081", func() map[string][]v1alpha1.HTTPIngressPath { return current.Load().private })

	changed := make(chan struct{}, 1)
	note := func(any) {
		select {
		case changed <- struct{}{}:
		default: // it will be looked at anyway
		}
	}
	ctx := context.Background()
	factory := externalversions.NewSharedInformerFactory(client, time.Minute)
	ingresses := factory.Networking().V1alpha1().Ingresses()
	handler := cache.ResourceEventHandlerFuncs{AddFunc: note, UpdateFunc: func(_, is any) { note(is) }, DeleteFunc: note}
	if _, err := ingresses.Informer().AddEventHandler(handler); err != nil {
		log.Fatal(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for range changed {
		all, err := ingresses.Lister().List(labels.Everything())
		if err != nil {
			log.Fatal(err)
		}
		next := &table{public: map[string][]v1alpha1.HTTPIngressPath{}, private: map[string][]v1alpha1.HTTPIngressPath{}}
		for _, in := range all {
			if mine(in) {
				next.add(in)
			}
		}
		current.Store(next)
		for _, in := range all {
			if !mine(in) || in.IsReady() && in.Status.ObservedGeneration == in.Generation {
				continue
			}
			if err := markReady(ctx, client, in.DeepCopy()); err != nil { // a conflict brings the next change
				log.Print(err)
			}
		}
	}
}

func mine(in *v1alpha1.Ingress) bool {
	return in.Annotations[networking.IngressClassAnnotationKey] == class && in.DeletionTimestamp == nil
}

func (t *table) add(in *v1alpha1.Ingress) {
	for _, rule := range in.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for _, host := range rule.Hosts {
			t.private[host] = append(t.private[host], rule.HTTP.Paths...)
			if rule.Visibility != v1alpha1.IngressVisibilityClusterLocal {
				t.public[host] = append(t.public[host], rule.HTTP.Paths...)
			}
		}
	}
}

func markReady(ctx context.Context, client versioned.Interface, in *v1alpha1.Ingress) error {
	in.Status.InitializeConditions()
	in.Status.MarkNetworkConfigured()
	in.Status.MarkLoadBalancerReady([]v1alpha1.LoadBalancerIngressStatus{{DomainInternal: public}}, []v1alpha1.LoadBalancerIngressStatus{{DomainInternal: private}})
	in.Status.ObservedGeneration = in.Generation
	if _, err := client.NetworkingV1alpha1().Ingresses(in.Namespace).UpdateStatus(ctx, in, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("mark %s/%s as ready: %w", in.Namespace, in.Name, err)
	}
	return nil
}

// choose returns the path that fits a request best, of those of its host: the one
// that asks for most headers, then the one with the longest prefix.
func choose(paths []v1alpha1.HTTPIngressPath, r *http.Request) (best *v1alpha1.HTTPIngressPath) {
	for i := range paths {
		p := &paths[i]
		fits := strings.HasPrefix(r.URL.Path, p.Path) && len(p.Splits) > 0
		for name, want := range p.Headers {
			fits = fits && r.Header.Get(name) == want.Exact
		}
		if fits && (best == nil || len(p.Headers) > len(best.Headers) || len(p.Headers) == len(best.Headers) && len(p.Path) > len(best.Path)) {
			best = p
		}
	}
	return best
}

// split chooses one of the revisions that share a path, by their percentages.
func split(splits []v1alpha1.IngressBackendSplit) v1alpha1.IngressBackendSplit {
	n := rand.IntN(100)
	for _, s := range splits {
		if n -= s.Percent; n < 0 {
			return s
		}
	}
	return splits[0]
}

func serve(address string, routes func() map[string][]v1alpha1.HTTPIngressPath) {
	type chosen struct{}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost, transport.IdleConnTimeout = 0, 1000, 20*time.Second
	proxy := &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, Rewrite: func(pr *httputil.ProxyRequest) {
		path := pr.In.Context().Value(chosen{}).(*v1alpha1.HTTPIngressPath)
		to := split(path.Splits)
		pr.Out.URL.Scheme = "http"
		pr.Out.URL.Host = to.ServiceName + "." + to.ServiceNamespace + ".svc.cluster.local:" + to.ServicePort.String()
		pr.Out.Host = pr.In.Host
		if path.RewriteHost != "" {
			pr.Out.Host = path.RewriteHost
		}
		headers := maps.Clone(path.AppendHeaders)
		if headers == nil {
			headers = map[string]string{}
		}
		maps.Copy(headers, to.AppendHeaders)
		for name, value := range headers {
			pr.Out.Header.Set(name, value)
		}
		pr.SetXForwarded()
	}}
	server := &http.Server{Addr: address, Protocols: new(http.Protocols), ReadHeaderTimeout: 10 * time.Second}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/_ingress/healthz" {
			return
		}
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		path := choose(routes()[host], r)
		if path == nil {
			http.Error(w, "no route to "+host, http.StatusNotFound)
			return
		}
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), chosen{}, path)))
	})
	log.Fatal(server.ListenAndServe())
}
