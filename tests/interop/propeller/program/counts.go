package main

import (
	"io"
	"os"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"
)

const (
	asks   = "Querying AsyncPlugin for "
	fails  = "Error retrieving resource ["
	aborts = "Failed to abort some resources ["
	panics = "worker panic'd"
)

// counts is what the plugins' cache says in propeller's log: it counts failed syncs in each item, which is not a metric, and
// the item of a task that was aborted is never stored.
//
// The lines are those of pluginmachinery/internal/webapi: cache.go (SyncResource) and core.go (Abort); and the cache's own
// "worker panic'd" (flytestdlib/cache). A panic of a round is a failed round, and propeller has one of its own: two rounds that
// meet a task type for the first time register its metrics twice, since task.Handler is copied with its lock.
type counts struct {
	lock   sync.Mutex
	events *teller
	polls  map[string]int
	failed map[string]int
	words  map[string]string
	aborts int
	panics int
}

func newCounts(events *teller) *counts {
	return &counts{events: events, polls: map[string]int{}, failed: map[string]int{}, words: map[string]string{}}
}

// listen makes propeller log everything to this counter, and warnings to standard error.
func (c *counts) listen() {
	logrus.SetLevel(logrus.DebugLevel)
	logrus.SetOutput(io.Discard)
	logrus.SetFormatter(plain{})
	logrus.AddHook(c)
}

// Levels are all that are counted.
func (c *counts) Levels() []logrus.Level { return logrus.AllLevels }

// Fire reads one line of the log.
func (c *counts) Fire(entry *logrus.Entry) error {
	if entry.Level <= logrus.WarnLevel {
		_, _ = os.Stderr.WriteString(entry.Time.Format("15:04:05.000 ") + entry.Message + "\n")
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	switch {
	case strings.HasPrefix(entry.Message, asks):
		c.polls[strings.TrimPrefix(entry.Message, asks)]++
	case strings.HasPrefix(entry.Message, fails):
		id, words, _ := strings.Cut(strings.TrimPrefix(entry.Message, fails), "]. Error: ")
		c.failed[id]++
		c.words[id] = words
	case strings.HasPrefix(entry.Message, aborts):
		c.aborts++
	case strings.HasPrefix(entry.Message, panics):
		c.panics++
	}
	return nil
}

func (c *counts) tell() {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.events.tell("counts", map[string]any{
		"polls": c.polls, "failed": c.failed, "words": c.words, "aborts_failed": c.aborts, "panics": c.panics,
	})
}

// plain spares formatting lines that nobody reads.
type plain struct{}

func (plain) Format(*logrus.Entry) ([]byte, error) { return nil, nil }
