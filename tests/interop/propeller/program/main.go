// Command propeller is FlytePropeller without Kubernetes: the published code of its controller, with the real connector and
// agent plugins, driven by commands and telling what happens.
//
// What runs is propeller's own: configuration sections read from a file as its binary reads them, work queue and workers,
// the reconciler (controller.Propeller), the workflow and node executors, the task handler, the webapi plugin machinery with
// its auto-refresh cache, both plugins, their gRPC clients, the Kubernetes resolver of k8s:// endpoints, the compiler.
//
// What stands in for a cluster is small and written here: custom resources kept as JSON with resource versions (resources.go),
// objects in files (objects.go), flyteadmin as a listener to events (admin.go), endpoints of services (endpoints.go).
//
// Commands come as JSON lines on standard input, one object each, with `do`:
//
//	start      an execution: see execution in workflows.go
//	abort      {"name"}: mark its resource as deleted, as flyteadmin does when a user aborts
//	endpoints  {"service", "namespace", "addresses"}: the addresses behind k8s:///service.namespace:port from now on
//	counts     answer with what the plugins' cache did so far
//
// What happens goes to standard output as JSON lines with `event`: ready, task, workflow, stored (an update of
// a resource), ended, counts. The process ends with its standard input. Warnings of its log go to standard error.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"
)

// command is one line of standard input.
type command struct {
	Do        string   `json:"do"`
	Service   string   `json:"service"`
	Namespace string   `json:"namespace"`
	Addresses []string `json:"addresses"`
	execution
}

// teller writes events to standard output, whole lines at a time.
type teller struct {
	lock    sync.Mutex
	encoder *json.Encoder
}

// tell writes one event; fields are merged with its name.
func (t *teller) tell(event string, fields map[string]any) {
	fields["event"] = event
	t.lock.Lock()
	defer t.lock.Unlock()
	if err := t.encoder.Encode(fields); err != nil {
		os.Exit(3) // nobody listens any more
	}
}

func main() {
	file := flag.String("config", "", "propeller's configuration")
	folder := flag.String("objects", "", "where objects are kept")
	behind := flag.String("services", "{}", "addresses behind services at first: {\"namespace/name\": [...]}")
	flag.Parse()
	if err := run(*file, *folder, *behind); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file, folder, behind string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events := &teller{encoder: json.NewEncoder(os.Stdout)}
	counts := newCounts(events)
	services := newServices()
	if err := json.Unmarshal([]byte(behind), &services.first); err != nil {
		return err
	}
	services.begin()
	engine, err := newEngine(ctx, file, folder, events, counts, services)
	if err != nil {
		return err
	}
	events.tell("ready", map[string]any{})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		if err := obey(ctx, engine, services, counts, lines.Bytes()); err != nil {
			return err
		}
	}
	return lines.Err()
}

func obey(ctx context.Context, engine *engine, services *services, counts *counts, line []byte) error {
	var asked command
	if err := json.Unmarshal(line, &asked); err != nil {
		return err
	}
	switch asked.Do {
	case "start":
		return engine.start(ctx, asked.execution)
	case "abort":
		return engine.resources.abort(asked.Name)
	case "endpoints":
		services.point(asked.Namespace, asked.Service, asked.Addresses)
		return nil
	case "counts":
		counts.tell()
		return nil
	}
	return fmt.Errorf("unknown command %q", asked.Do)
}
