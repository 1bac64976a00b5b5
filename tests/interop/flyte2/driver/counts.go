package main

import (
	"context"
	"os"
	"regexp"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flyteorg/flyte/v2/flytestdlib/logger"
)

// What the plugin and its cache say of one action. Their metrics count over all actions, their log names each.
var said = map[string]*regexp.Regexp{
	"polls":         regexp.MustCompile(`^Querying AsyncPlugin for (\S+)$`),
	"poll_errors":   regexp.MustCompile(`^Error retrieving resource \[([^\]]+)\]`),
	"creates":       regexp.MustCompile(`^Created Resource Name \[([^\]]+)\]`),
	"abort_errors":  regexp.MustCompile(`^Failed to abort some resources \[([^\]]+)\]`),
	"create_errors": regexp.MustCompile(`^Failed to create resource`),
}

const abortRefused = "plugin Abort failed, will retry"

// counts counts per action what Flyte's log says of it.
type counts struct {
	mu     sync.Mutex
	counts map[string]map[string]int
}

func countFromLogs() *counts {
	counted := &counts{counts: map[string]map[string]int{}}
	logrus.SetOutput(os.Stderr)
	logrus.AddHook(counted)
	_ = logger.SetConfig(&logger.Config{Level: logger.DebugLevel})
	log.SetLogger(logr.Discard())
	return counted
}

// Levels is logrus's; every level is heard.
func (c *counts) Levels() []logrus.Level { return logrus.AllLevels }

// Fire is logrus's; it hears one entry.
func (c *counts) Fire(entry *logrus.Entry) error {
	for word, pattern := range said {
		if found := pattern.FindStringSubmatch(entry.Message); len(found) > 1 {
			c.add(actionOf(found[1]), word)
		} else if found != nil {
			c.add("", word)
		}
	}
	return nil
}

// watching returns a context whose logger counts what the controller logs of an action.
func (c *counts) watching(ctx context.Context, name string) context.Context {
	return log.IntoContext(ctx, funcr.New(func(_, line string) {
		if strings.Contains(line, abortRefused) {
			c.add(name, "refused_aborts")
		}
	}, funcr.Options{}))
}

func (c *counts) roundFailed(name string) { c.add(name, "failed_rounds") }

func (c *counts) add(name, word string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts[name] == nil {
		c.counts[name] = map[string]int{}
	}
	c.counts[name][word]++
}

func (c *counts) of(name string) map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	copied := map[string]int{}
	for word, count := range c.counts[name] {
		copied[word] = count
	}
	return copied
}

// actionOf returns the action of a generated name, which has the attempt at its end.
func actionOf(generated string) string {
	if at := strings.LastIndex(generated, "-"); at >= 0 {
		return generated[:at]
	}
	return generated
}

// gatherMetrics returns the counters of the plugin, of its cache and of its gRPC client: name and labels to value.
func gatherMetrics() (map[string]float64, error) {
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if metric.GetCounter() == nil {
				continue
			}
			labels := []string{}
			for _, pair := range metric.GetLabel() {
				labels = append(labels, pair.GetName()+"="+pair.GetValue())
			}
			values[family.GetName()+"{"+strings.Join(labels, ",")+"}"] = metric.GetCounter().GetValue()
		}
	}
	return values, nil
}
