package main

import (
	"context"
	"strings"
	"sync"

	"google.golang.org/grpc/resolver"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/testing"

	k8sresolver "github.com/flyteorg/flyte/flytestdlib/resolver"
)

// services are the addresses behind services' names. Propeller's own resolver of k8s:// endpoints watches them, through a
// cluster that is played: a watch begins with what there is, as a real one does.
type services struct {
	cluster *fake.Clientset
	lock    sync.Mutex
	now     map[string]*corev1.Endpoints
	watches []watching
	first   map[string][]string
}

type watching struct {
	namespace string
	events    *watch.RaceFreeFakeWatcher
}

func newServices() *services {
	s := &services{cluster: fake.NewSimpleClientset(), now: map[string]*corev1.Endpoints{}}
	s.cluster.PrependWatchReactor("endpoints", s.watch)
	resolver.Register(k8sresolver.NewBuilder(context.Background(), s.cluster, k8sresolver.Schema))
	return s
}

// begin sets the addresses that there are at first.
func (s *services) begin() {
	for place, addresses := range s.first {
		namespace, service, _ := strings.Cut(place, "/")
		s.point(namespace, service, addresses)
	}
}

// point sets the addresses behind a name, and tells those who watch.
func (s *services) point(namespace, service string, addresses []string) {
	ready := make([]corev1.EndpointAddress, 0, len(addresses))
	for _, address := range addresses {
		ready = append(ready, corev1.EndpointAddress{IP: address})
	}
	told := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: service},
		Subsets:    []corev1.EndpointSubset{{Addresses: ready}},
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	s.now[namespace+"/"+service] = told
	for _, each := range s.watches {
		if each.namespace == namespace && !each.events.IsStopped() {
			each.events.Modify(told.DeepCopy())
		}
	}
}

func (s *services) watch(action testing.Action) (bool, watch.Interface, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	made := watching{namespace: action.GetNamespace(), events: watch.NewRaceFreeFake()}
	for _, told := range s.now {
		if told.Namespace == made.namespace {
			made.events.Add(runtime.Object(told.DeepCopy()))
		}
	}
	s.watches = append(s.watches, made)
	return true, made.events, nil
}
