package main

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	kubeerrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/core"
	"github.com/flyteorg/flyte/flytepropeller/pkg/apis/flyteworkflow/v1alpha1"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller/workflowstore"
)

// resources is the cluster's store of FlyteWorkflows: each is JSON with a resource version, so that whatever a round leaves
// only in memory is gone at the next, and an update of an older version is a conflict.
//
// It is propeller's workflowstore.FlyteWorkflow. An update that is refused drops everything that its round did, also the
// handle that a CreateTask of that round brought (controller/handler.go, "update the GetExecutionStatus block").
type resources struct {
	lock    sync.Mutex
	kept    map[string]*resource
	tell    *teller
	enqueue func(key string)
}

// resource is one FlyteWorkflow.
type resource struct {
	data     []byte
	version  int
	deleted  bool
	ended    bool
	lose     []loss
	failures map[string]int // what the plugin's persisted state counted, by node
	attempts map[string]int
	refused  int
}

// loss is a fault of the cluster or of flyteadmin: it refuses what tells of a phase, some times.
type loss struct {
	What    string `json:"what"`  // "update": the cluster has a conflict; "event": flyteadmin does not answer
	Phase   string `json:"phase"` // of an update the plugin's phase, PhaseQueued; of an event Flyte's, QUEUED
	Version uint32 `json:"version"`
	Times   int    `json:"times"`
}

// persisted is what of the webapi plugins' state is read here; gob skips the rest.
type persisted struct {
	SyncFailureCount int
	ErrorMessage     string
}

func newResources(tell *teller, enqueue func(string)) *resources {
	return &resources{kept: map[string]*resource{}, tell: tell, enqueue: enqueue}
}

func (r *resources) enter(w *v1alpha1.FlyteWorkflow, lose []loss) error {
	w.ResourceVersion = "1"
	w.CreationTimestamp = metav1.Now()
	data, err := json.Marshal(w)
	if err != nil {
		return err
	}
	r.lock.Lock()
	r.kept[w.Name] = &resource{data: data, version: 1, lose: lose, failures: map[string]int{}, attempts: map[string]int{}}
	r.lock.Unlock()
	r.enqueue(w.Namespace + "/" + w.Name)
	return nil
}

// abort sets the deletion timestamp: a round that is under way then meets a conflict, as in a cluster.
func (r *resources) abort(name string) error {
	r.lock.Lock()
	kept := r.kept[name]
	if kept == nil {
		r.lock.Unlock()
		return fmt.Errorf("there is no execution %q", name)
	}
	kept.deleted = true
	kept.version++
	r.lock.Unlock()
	r.enqueue(namespace + "/" + name)
	return nil
}

func (r *resources) enqueueAll() {
	r.lock.Lock()
	keys := make([]string, 0, len(r.kept))
	for name, kept := range r.kept {
		if !kept.ended {
			keys = append(keys, namespace+"/"+name)
		}
	}
	r.lock.Unlock()
	for _, key := range keys {
		r.enqueue(key)
	}
}

// Get returns a copy, made of its JSON.
func (r *resources) Get(_ context.Context, _, name string) (*v1alpha1.FlyteWorkflow, error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	kept := r.kept[name]
	if kept == nil || kept.ended {
		return nil, workflowstore.ErrWorkflowNotFound
	}
	return kept.read()
}

// Update keeps a new version, unless it was made of an older one or a loss strikes.
func (r *resources) Update(_ context.Context, w *v1alpha1.FlyteWorkflow) (*v1alpha1.FlyteWorkflow, error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	kept := r.kept[w.Name]
	if kept == nil {
		return nil, workflowstore.ErrWorkflowNotFound
	}
	if kept.strikes("abort", tasksOf(w)) {
		kept.deleted = true
		kept.version++
		go r.enqueue(w.Namespace + "/" + w.Name)
	}
	if w.ResourceVersion != strconv.Itoa(kept.version) || kept.strikes("update", tasksOf(w)) {
		kept.refused++
		return nil, kubeerrors.NewConflict(v1alpha1.Resource(v1alpha1.FlyteWorkflowKind), w.Name, fmt.Errorf("another version is kept"))
	}
	kept.version++
	w = w.DeepCopy()
	w.ResourceVersion = strconv.Itoa(kept.version)
	data, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	kept.data = data
	kept.note(w)
	r.tellStored(w)
	if w.GetExecutionStatus().IsTerminated() {
		kept.ended = true
		r.tellEnd(w, kept)
	} else {
		go r.enqueue(w.Namespace + "/" + w.Name) // the informer's answer to an update
	}
	return kept.read()
}

// refuses tells whether flyteadmin is not to answer an event of a phase.
func (r *resources) refuses(name, phase string, version uint32) bool {
	r.lock.Lock()
	defer r.lock.Unlock()
	kept := r.kept[name]
	return kept != nil && kept.strikes("event", []loss{{Phase: phase, Version: version}})
}

// tellStored tells where nodes and their tasks stand now: what the next round begins with.
func (r *resources) tellStored(w *v1alpha1.FlyteWorkflow) {
	stands := map[string]string{}
	for node, status := range w.Status.NodeStatus {
		stands[node] = status.Phase.String()
		if task := status.TaskNodeStatus; task != nil {
			stands[node] = fmt.Sprintf("%s %s %d", status.Phase, core.Phase(task.Phase), task.PhaseVersion)
		}
	}
	r.tell.tell("stored", map[string]any{"execution": w.Name, "nodes": stands})
}

func (r *resources) tellEnd(w *v1alpha1.FlyteWorkflow, kept *resource) {
	status := w.GetExecutionStatus()
	words := status.GetMessage()
	if failure := status.GetExecutionError(); failure != nil {
		words = failure.GetMessage()
	}
	r.tell.tell("ended", map[string]any{
		"execution": w.Name, "phase": status.GetPhase().String(), "words": words, "rounds_refused": kept.refused,
		"rounds_failed": w.Status.FailedAttempts, "failures": kept.failures, "attempts": kept.attempts,
	})
}

func (kept *resource) read() (*v1alpha1.FlyteWorkflow, error) {
	w := &v1alpha1.FlyteWorkflow{}
	if err := json.Unmarshal(kept.data, w); err != nil {
		return nil, err
	}
	w.ResourceVersion = strconv.Itoa(kept.version)
	if kept.deleted {
		w.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	}
	return w, nil
}

// strikes takes one of the losses that is due for one of the task phases.
func (kept *resource) strikes(what string, phases []loss) bool {
	for n := range kept.lose {
		due := &kept.lose[n]
		for _, seen := range phases {
			if due.What == what && due.Times > 0 && due.Phase == seen.Phase && due.Version == seen.Version {
				due.Times--
				return true
			}
		}
	}
	return false
}

// note remembers what is cleared when a node ends: the plugin's count of failed syncs, and the attempts.
func (kept *resource) note(w *v1alpha1.FlyteWorkflow) {
	for node, status := range w.Status.NodeStatus {
		kept.attempts[node] = max(kept.attempts[node], int(status.Attempts))
		if status.TaskNodeStatus == nil || len(status.TaskNodeStatus.PluginState) == 0 {
			continue
		}
		var state persisted
		if gob.NewDecoder(bytes.NewReader(status.TaskNodeStatus.PluginState)).Decode(&state) == nil {
			kept.failures[node] = max(kept.failures[node], state.SyncFailureCount)
		}
	}
}

// tasksOf returns where the tasks of a workflow stand, in its resource.
func tasksOf(w *v1alpha1.FlyteWorkflow) []loss {
	var phases []loss
	for _, status := range w.Status.NodeStatus {
		if task := status.TaskNodeStatus; task != nil {
			phases = append(phases, loss{Phase: core.Phase(task.Phase).String(), Version: task.PhaseVersion})
		}
	}
	return phases
}
