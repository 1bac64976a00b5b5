package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"connectrpc.com/connect"

	pluginsCore "github.com/flyteorg/flyte/v2/flyteplugins/go/tasks/pluginmachinery/core"
	"github.com/flyteorg/flyte/v2/gen/go/flyteidl2/common"
	"github.com/flyteorg/flyte/v2/gen/go/flyteidl2/workflow"
	"github.com/flyteorg/flyte/v2/gen/go/flyteidl2/workflow/workflowconnect"
)

// launchedVersion is the phase version with which the plugin reports that it has just created a job.
const launchedVersion = 2

var (
	_ workflowconnect.EventsProxyServiceClient = (*eventsService)(nil)
	_ pluginsCore.SecretManager                = (*secretManager)(nil)

	errRoundLost = errors.New("the events service is away, as it was told to be")
)

// recordedEvent is what users see of an action: a phase, with the links that came with it.
type recordedEvent struct {
	Phase   string   `json:"phase"`
	Attempt uint32   `json:"attempt"`
	Links   []string `json:"links"`
	Logs    string   `json:"logs_endpoint"`
}

// eventsService records the events of actions. It can be away just when a job was created, so the executor drops the
// round with everything in it and creates again.
type eventsService struct {
	mu     sync.Mutex
	events map[string][]recordedEvent
	losses map[string]int
}

func newEventsService() *eventsService {
	return &eventsService{events: map[string][]recordedEvent{}, losses: map[string]int{}}
}

func (s *eventsService) Record(
	_ context.Context, asked *connect.Request[workflow.RecordRequest],
) (*connect.Response[workflow.RecordResponse], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, event := range asked.Msg.GetEvents() {
		name := event.GetId().GetRun().GetName()
		isLaunched := event.GetPhase() == common.ActionPhase_ACTION_PHASE_QUEUED && event.GetVersion() == launchedVersion
		if isLaunched && s.losses[name] > 0 {
			s.losses[name]--
			return nil, connect.NewError(connect.CodeUnavailable, errRoundLost)
		}
	}
	for _, event := range asked.Msg.GetEvents() {
		name := event.GetId().GetRun().GetName()
		s.events[name] = append(s.events[name], seen(event))
	}
	return connect.NewResponse(&workflow.RecordResponse{}), nil
}

func seen(event *workflow.ActionEvent) recordedEvent {
	links := []string{}
	for _, each := range event.GetLogInfo() {
		links = append(links, each.GetUri())
	}
	return recordedEvent{
		Phase:   event.GetPhase().String(),
		Attempt: event.GetAttempt(),
		Links:   links,
		Logs:    event.GetLogContext().GetConnector().GetEndpoint(),
	}
}

func (s *eventsService) loseNext(name string, count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losses[name] = count
}

func (s *eventsService) of(name string) []recordedEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]recordedEvent{}, s.events[name]...)
}

// secretManager gives the secrets of the settings; the executor's own has none and refuses them all.
type secretManager struct {
	values map[string]string
}

func newSecretManager(known []knownSecret) *secretManager {
	values := map[string]string{}
	for _, each := range known {
		values[each.key()] = each.Value
	}
	return &secretManager{values: values}
}

func (s *secretManager) Get(_ context.Context, key string) (string, error) {
	if value, ok := s.values[key]; ok {
		return value, nil
	}
	return "", fmt.Errorf("there is no secret %s", key)
}
