package main

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	flyteorgv1 "github.com/flyteorg/flyte/v2/executor/api/v1"
	"github.com/flyteorg/flyte/v2/executor/pkg/plugin"
	"github.com/flyteorg/flyte/v2/flyteplugins/go/tasks/pluginmachinery/webapi"
	"github.com/flyteorg/flyte/v2/flyteplugins/go/tasks/plugins/webapi/connector"
	"github.com/flyteorg/flyte/v2/flytestdlib/storage"
)

const (
	namespace = "flyte"
	look      = 20 * time.Millisecond
)

// request is one line of standard input.
type request struct {
	ID int    `json:"id"`
	Do string `json:"do"`
	// Name is the action's; its run is called the same.
	Name            string
	Project, Domain string
	TaskType        string
	// Template and Inputs are the encoded `TaskTemplate` and `Inputs`.
	Template, Inputs []byte
	// Base is the folder of the run.
	Base string
	// Until is what to wait for: phases of the plugin, "over", "gone"; or "aborts", as many refused ones as Count says.
	Until   []string
	Seconds float64
	Count   int
}

// standing is where an action stands.
type standing struct {
	Exists         bool            `json:"exists"`
	IsOver         bool            `json:"is_over"`
	Phase          string          `json:"phase"`
	Phases         []string        `json:"phases"`
	Attempts       uint32          `json:"attempts"`
	SystemFailures uint32          `json:"system_failures"`
	Code           string          `json:"code"`
	Message        string          `json:"message"`
	Handle         []byte          `json:"handle"`
	OutputPrefix   string          `json:"output_prefix"`
	Events         []recordedEvent `json:"events"`
	Counts         map[string]int  `json:"counts"`
}

func (e *executor) do(ctx context.Context, asked request) (any, error) {
	switch asked.Do {
	case "create":
		return nil, e.create(ctx, asked)
	case "abort":
		return nil, client.IgnoreNotFound(e.cluster.Delete(ctx, e.named(asked.Name)))
	case "wait":
		return e.wait(ctx, asked)
	case "stand":
		return e.stand(ctx, asked.Name)
	case "outputs":
		return e.outputs(ctx, asked.Name)
	case "lose_rounds":
		e.events.loseNext(asked.Name, asked.Count)
		return nil, nil
	case "collect_garbage":
		return nil, e.collectGarbage(ctx)
	case "metrics":
		return gatherMetrics()
	}
	return nil, fmt.Errorf("there is no operation %q", asked.Do)
}

// create stores the inputs and applies the action, as Flyte's queue service does.
func (e *executor) create(ctx context.Context, asked request) error {
	inputs := storage.DataReference(fmt.Sprintf("%s/%s/inputs.pb", asked.Base, asked.Name))
	if err := e.store.WriteRaw(ctx, inputs, int64(len(asked.Inputs)), storage.Options{}, bytes.NewReader(asked.Inputs)); err != nil {
		return fmt.Errorf("the inputs: %w", err)
	}
	return e.cluster.Create(ctx, &flyteorgv1.TaskAction{
		ObjectMeta: metav1.ObjectMeta{Name: asked.Name, Namespace: namespace},
		Spec: flyteorgv1.TaskActionSpec{
			RunName:       asked.Name,
			ActionName:    "a0",
			Project:       asked.Project,
			Domain:        asked.Domain,
			TaskType:      asked.TaskType,
			TaskTemplate:  asked.Template,
			InputURI:      inputs.String(),
			RunOutputBase: fmt.Sprintf("%s/%s", asked.Base, asked.Name),
		},
	})
}

func (e *executor) wait(ctx context.Context, asked request) (*standing, error) {
	until := time.Now().Add(time.Duration(asked.Seconds * float64(time.Second)))
	for {
		stands, err := e.stand(ctx, asked.Name)
		if err != nil {
			return nil, err
		}
		if stands.has(asked) {
			return stands, nil
		}
		if time.Now().After(until) {
			return stands, fmt.Errorf("%s is not %s after %g s: %s", asked.Name, strings.Join(asked.Until, "/"), asked.Seconds, stands.Phase)
		}
		time.Sleep(look)
	}
}

func (s *standing) has(asked request) bool {
	for _, wanted := range asked.Until {
		switch wanted {
		case "gone":
			if !s.Exists {
				return true
			}
		case "over":
			if s.IsOver {
				return true
			}
		case "creates", "polls", "refused_aborts":
			if s.Counts[wanted] >= asked.Count {
				return true
			}
		default:
			if s.Phase == wanted {
				return true
			}
		}
	}
	return false
}

func (e *executor) stand(ctx context.Context, name string) (*standing, error) {
	stands := &standing{Events: e.events.of(name), Counts: e.counts.of(name)}
	action := e.named(name)
	err := e.cluster.Get(ctx, client.ObjectKeyFromObject(action), action)
	if apierrors.IsNotFound(err) {
		return stands, nil
	}
	if err != nil {
		return nil, err
	}
	stands.Exists = true
	stands.Phase = action.Status.PluginPhase
	stands.Attempts = action.Status.Attempts
	stands.SystemFailures = action.Status.SystemFailures
	for _, each := range action.Status.PhaseHistory {
		stands.Phases = append(stands.Phases, each.Phase)
	}
	for _, each := range action.Status.Conditions {
		isEnd := each.Type == string(flyteorgv1.ConditionTypeSucceeded) || each.Type == string(flyteorgv1.ConditionTypeFailed)
		stands.IsOver = stands.IsOver || isEnd && each.Status == metav1.ConditionTrue
	}
	if failure := action.Status.ErrorState; failure != nil {
		stands.Code, stands.Message = failure.Code, failure.Message
	}
	if stands.Handle, err = handleOf(action); err != nil {
		return nil, err
	}
	stands.OutputPrefix, err = e.outputPrefix(ctx, action)
	return stands, err
}

// handleOf returns the connector's handle from the state that the plugin keeps in the action.
func handleOf(action *flyteorgv1.TaskAction) ([]byte, error) {
	if len(action.Status.PluginState) == 0 {
		return nil, nil
	}
	var state webapi.State
	if err := gob.NewDecoder(bytes.NewReader(action.Status.PluginState)).Decode(&state); err != nil {
		return nil, fmt.Errorf("the plugin's state: %w", err)
	}
	if meta, ok := state.ResourceMeta.(connector.ResourceMetaWrapper); ok {
		return meta.ConnectorResourceMeta, nil
	}
	return nil, nil
}

// outputs returns the bytes of `outputs.pb`, as a task that uses them would read it; nothing when there is none.
func (e *executor) outputs(ctx context.Context, name string) ([]byte, error) {
	action := e.named(name)
	if err := e.cluster.Get(ctx, client.ObjectKeyFromObject(action), action); err != nil {
		return nil, err
	}
	prefix, err := e.outputPrefix(ctx, action)
	if err != nil {
		return nil, err
	}
	file, err := e.store.ReadRaw(ctx, storage.DataReference(prefix+"/outputs.pb"))
	if storage.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	_, err = content.ReadFrom(file)
	return content.Bytes(), errors.Join(err, file.Close())
}

func (e *executor) outputPrefix(ctx context.Context, action *flyteorgv1.TaskAction) (string, error) {
	attempt := max(action.Status.Attempts, 1)
	spec := action.Spec
	prefix, err := plugin.ComputeActionOutputPath(ctx, action.Namespace, action.Name, spec.RunOutputBase, spec.ActionName, attempt)
	return prefix.String(), err
}

func (e *executor) named(name string) *flyteorgv1.TaskAction {
	return &flyteorgv1.TaskAction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
}
