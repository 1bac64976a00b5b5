// Command driver runs Flyte 2's executor, without Kubernetes, against connector services.
//
// What is Flyte's own here: the TaskAction controller (requeue, system failures, restarts in place, aborts that are
// retried without limit), its garbage collector, its plugin registry, and the connector plugin with its cache and state
// machine. What stands in for a cluster: controller-runtime's in-memory API server, a queue of reconcile requests fed by
// its watch, an events service that can lose a round, and a secret manager that holds what its settings say.
//
// It is driven over its standard streams, a JSON object per line: a request has an id and an operation, its reply the
// same id. Requests are answered as they are done, in any order. Its standard error is Flyte's log.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

const largestRequest = 16 << 20

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: driver SETTINGS.json < requests > replies")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	settings, err := readSettings(path)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	executor, err := startExecutor(ctx, settings)
	if err != nil {
		return err
	}
	return answer(ctx, executor)
}

// answer serves requests until standard input ends.
func answer(ctx context.Context, executor *executor) error {
	replies := json.NewEncoder(os.Stdout)
	var writing sync.Mutex
	reply := func(id int, result any, err error) {
		writing.Lock()
		defer writing.Unlock()
		line := map[string]any{"id": id, "result": result}
		if err != nil {
			line["error"] = err.Error()
		}
		_ = replies.Encode(line)
	}
	reply(0, "ready", nil)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 64<<10), largestRequest)
	for lines.Scan() {
		var asked request
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			return fmt.Errorf("a request is no JSON: %w", err)
		}
		go func() {
			result, err := executor.do(ctx, asked)
			reply(asked.ID, result, err)
		}()
	}
	return lines.Err()
}
