package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/flyteorg/flyte/v2/flyteplugins/go/tasks/pluginmachinery/secret"
	"github.com/flyteorg/flyte/v2/flyteplugins/go/tasks/plugins/webapi/connector"
	"github.com/flyteorg/flyte/v2/flytestdlib/storage"
)

// settings is what the driver is started with.
type settings struct {
	// Connector is the section `plugins.connector-service`, over the plugin's own defaults.
	Connector json.RawMessage `json:"connector"`
	// Storage is the section `storage`.
	Storage storage.Config `json:"storage"`
	// RequeueSeconds and MaxSystemFailures are the executor's; zero is its own default.
	RequeueSeconds    float64       `json:"requeueSeconds"`
	MaxSystemFailures uint32        `json:"maxSystemFailures"`
	Secrets           []knownSecret `json:"secrets"`
}

// knownSecret is one secret of the secret manager, in the scope in which the plugin asks for it.
type knownSecret struct {
	Project, Domain, Name, Value string
}

func (k knownSecret) key() string {
	return secret.EncodeSecretName(secret.DefaultOrganization, k.Domain, k.Project, k.Name)
}

func readSettings(path string) (*settings, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	read := &settings{}
	if err := json.Unmarshal(text, read); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	section := *connector.GetConfig()
	if err := json.Unmarshal(read.Connector, &section); err != nil {
		return nil, fmt.Errorf("%s: connector: %w", path, err)
	}
	return read, connector.SetConfig(&section)
}

func (s *settings) requeue() time.Duration {
	return time.Duration(s.RequeueSeconds * float64(time.Second))
}
