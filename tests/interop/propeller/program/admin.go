package main

import (
	"context"
	"fmt"

	"github.com/golang/protobuf/proto" //nolint:staticcheck // propeller's interface names it

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/event"
)

// listener stands in for flyteadmin: it takes propeller's events and tells of those that users see.
type listener struct {
	tell      *teller
	resources *resources
}

// Sink takes an event; an error fails the round (nodes/task/handler.go, "Send buffered events").
func (a *listener) Sink(_ context.Context, message proto.Message) error {
	switch told := message.(type) {
	case *event.TaskExecutionEvent:
		return a.task(told)
	case *event.WorkflowExecutionEvent:
		a.tell.tell("workflow", map[string]any{
			"execution": told.GetExecutionId().GetName(), "phase": told.GetPhase().String(), "words": told.GetError().GetMessage(),
		})
	}
	return nil
}

// Close does nothing.
func (a *listener) Close() error { return nil }

func (a *listener) task(told *event.TaskExecutionEvent) error {
	execution := told.GetParentNodeExecutionId().GetExecutionId().GetName()
	phase := told.GetPhase().String()
	if a.resources.refuses(execution, phase, told.GetPhaseVersion()) {
		return fmt.Errorf("rpc error: code = Unavailable desc = flyteadmin does not answer")
	}
	links := make([]string, 0, len(told.GetLogs()))
	for _, link := range told.GetLogs() {
		links = append(links, link.GetUri())
	}
	reasons := make([]string, 0, len(told.GetReasons()))
	for _, reason := range told.GetReasons() {
		reasons = append(reasons, reason.GetReason())
	}
	a.tell.tell("task", map[string]any{
		"execution": execution, "node": told.GetParentNodeExecutionId().GetNodeId(), "attempt": told.GetRetryAttempt(),
		"phase": phase, "version": told.GetPhaseVersion(), "words": told.GetError().GetMessage(),
		"code": told.GetError().GetCode(), "kind": told.GetError().GetKind().String(), "links": links, "reasons": reasons,
		"output": told.GetOutputUri(), "plugin": told.GetMetadata().GetPluginIdentifier(),
	})
	return nil
}
