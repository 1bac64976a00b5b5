package main

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flytepropeller/pkg/apis/flyteworkflow/v1alpha1"
	"github.com/flyteorg/flyte/flytepropeller/pkg/compiler"
	"github.com/flyteorg/flyte/flytepropeller/pkg/compiler/transformers/k8s"
)

const namespace = "interop-development"

// execution is a workflow of tasks that do not wait for each other.
type execution struct {
	Name  string `json:"name"`
	Nodes []node `json:"nodes"`
	Lose  []loss `json:"lose"`
}

// node is one task of it.
type node struct {
	ID       string          `json:"id"`
	Template json.RawMessage `json:"template"` // flyteidl.core.TaskTemplate
	Inputs   json.RawMessage `json:"inputs"`   // flyteidl.core.LiteralMap, of scalars
	Retries  uint32          `json:"retries"`
	TimeoutS float64         `json:"timeout_s"`
}

// build compiles the workflow and makes its resource, as flyteadmin does.
func (e execution) build() (*v1alpha1.FlyteWorkflow, error) {
	template := &core.WorkflowTemplate{
		Id:        &core.Identifier{ResourceType: core.ResourceType_WORKFLOW, Project: "interop", Domain: "development", Name: "interop", Version: "1"},
		Interface: &core.TypedInterface{Inputs: &core.VariableMap{}, Outputs: &core.VariableMap{}},
	}
	var tasks []*core.CompiledTask
	for _, each := range e.Nodes {
		task := &core.TaskTemplate{}
		if err := protojson.Unmarshal(each.Template, task); err != nil {
			return nil, err
		}
		compiled, err := compiler.CompileTask(task)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, compiled)
		made, err := each.build(task.GetId())
		if err != nil {
			return nil, err
		}
		template.Nodes = append(template.Nodes, made)
	}
	closure, err := compiler.CompileWorkflow(template, nil, tasks, nil)
	if err != nil {
		return nil, err
	}
	identity := &core.WorkflowExecutionIdentifier{Project: "interop", Domain: "development", Name: e.Name}
	w, err := k8s.BuildFlyteWorkflow(closure, &core.LiteralMap{}, identity, namespace)
	if err != nil {
		return nil, err
	}
	w.ExecutionID = v1alpha1.WorkflowExecutionIdentifier{WorkflowExecutionIdentifier: identity}
	w.WorkflowMeta = &v1alpha1.WorkflowMeta{EventVersion: v1alpha1.EventVersion2}
	w.RawOutputDataConfig = v1alpha1.RawOutputDataConfig{RawOutputDataConfig: &admin.RawOutputDataConfig{}}
	return w, nil
}

func (n node) build(task *core.Identifier) (*core.Node, error) {
	inputs := &core.LiteralMap{}
	if len(n.Inputs) > 0 {
		if err := protojson.Unmarshal(n.Inputs, inputs); err != nil {
			return nil, err
		}
	}
	made := &core.Node{
		Id:       n.ID,
		Metadata: &core.NodeMetadata{Name: n.ID, Retries: &core.RetryStrategy{Retries: n.Retries}},
		Target: &core.Node_TaskNode{TaskNode: &core.TaskNode{
			Reference: &core.TaskNode_ReferenceId{ReferenceId: task},
		}},
	}
	if n.TimeoutS > 0 {
		made.Metadata.Timeout = durationpb.New(time.Duration(n.TimeoutS * float64(time.Second)))
	}
	for name, literal := range inputs.GetLiterals() {
		if literal.GetScalar() == nil {
			return nil, fmt.Errorf("input %q is no scalar", name)
		}
		data := &core.BindingData{Value: &core.BindingData_Scalar{Scalar: literal.GetScalar()}}
		made.Inputs = append(made.Inputs, &core.Binding{Var: name, Binding: data})
	}
	return made, nil
}
