package main

// An open loop on a schedule: a number of slots is polled, each once per period, evenly spread over it, whether earlier
// calls were answered or not. That is what an engine with many live jobs does to a service, and unlike a closed loop it
// does not wait politely for a slow server. A slot holds one job; when an answer says that the job is over, the time is
// noted and the next spare job takes the slot, so that the number of live jobs stays what it was.
//
// The answer's phase is the only thing that is read of it: field 5 of field 1 of flyteidl's GetTaskResponse.

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"os"
	"sort"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	resourceField = 1
	phaseField    = 5
)

type pace struct {
	every, warm time.Duration
	slots       int
	epoch       int64
	endsPath    string
}

func paceFlags() *pace {
	var p pace
	flag.DurationVar(&p.every, "every", 0, "poll each slot once in so long, instead of a closed loop")
	flag.DurationVar(&p.warm, "warm", 0, "calls begun so long after the start are not counted")
	flag.IntVar(&p.slots, "slots", 0, "how many jobs are live; the bodies after them are spares (default: all bodies)")
	flag.Int64Var(&p.epoch, "epoch", 0, "when to begin, in nanoseconds since 1970 (default: now)")
	flag.StringVar(&p.endsPath, "ends", "", "file with the end of every body's job: float64, little endian, seconds after the epoch")
	return &p
}

// sight is what became of one job: seconds after the epoch, negative where it did not happen.
type sight struct {
	FirstPoll float64 `json:"first_poll"`
	Seen      float64 `json:"seen"`
}

// second counts the answers that came in one second of the run.
type second struct {
	OK    int `json:"ok"`
	Error int `json:"error"`
}

type watch struct {
	lock    sync.Mutex
	seen    tally
	sights  []sight
	seconds []second
	jobs    []int // the job of every slot, -1 where there is none left
	spare   int   // the next job that has no slot
	late    int   // calls that could not be begun within a tenth of a second of their time
}

func runPaced(o options, p pace) (map[string]any, error) {
	connections, err := connect(o)
	if err != nil {
		return nil, err
	}
	if p.slots == 0 || p.slots > len(o.bodies) {
		p.slots = len(o.bodies)
	}
	ends, err := readEnds(p.endsPath, len(o.bodies))
	if err != nil {
		return nil, err
	}
	epoch := time.Now()
	if p.epoch > 0 {
		epoch = time.Unix(0, p.epoch)
	}
	w := &watch{
		seen:    tally{codes: map[string]int64{}, details: map[string]string{}},
		sights:  make([]sight, len(o.bodies)),
		seconds: make([]second, int(o.seconds.Seconds())+int(o.timeout.Seconds())+2),
		jobs:    make([]int, p.slots),
		spare:   p.slots,
	}
	for i := range w.sights {
		w.sights[i] = sight{-1, -1}
	}
	for i := range w.jobs {
		w.jobs[i] = i
	}
	w.poll(connections, epoch, o, p)
	return w.report(o, p, ends), nil
}

// poll begins every call at its time and returns when all were answered.
func (w *watch) poll(connections []*grpc.ClientConn, epoch time.Time, o options, p pace) {
	var waiting sync.WaitGroup
	gap := float64(p.every) / float64(p.slots)
	for k := 0; ; k++ {
		due := epoch.Add(time.Duration(float64(k) * gap))
		if due.Sub(epoch) >= o.seconds {
			break
		}
		if ahead := time.Until(due); ahead > time.Millisecond {
			time.Sleep(ahead)
		} else if ahead < -100*time.Millisecond {
			w.late++
		}
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			w.call(connections[k%len(connections)], k%p.slots, epoch, o, p)
		}()
	}
	waiting.Wait()
}

func (w *watch) call(connection *grpc.ClientConn, slot int, epoch time.Time, o options, p pace) {
	begun := time.Now()
	w.lock.Lock()
	job := w.jobs[slot]
	if job >= 0 && w.sights[job].FirstPoll < 0 {
		w.sights[job].FirstPoll = begun.Sub(epoch).Seconds()
	}
	w.lock.Unlock()
	if job < 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	request := o.bodies[job].content
	var reply []byte
	err := connection.Invoke(ctx, o.method, &request, &reply)
	answered := time.Now()

	w.lock.Lock()
	defer w.lock.Unlock()
	if at := int(answered.Sub(epoch).Seconds()); at >= 0 && at < len(w.seconds) {
		if err == nil {
			w.seconds[at].OK++
		} else {
			w.seconds[at].Error++
		}
	}
	if begun.Sub(epoch) >= p.warm {
		code := status.Code(err).String()
		w.seen.latencies = append(w.seen.latencies, answered.Sub(begun))
		w.seen.codes[code]++
		if err != nil {
			w.seen.details[code] = status.Convert(err).Message()
		}
	}
	if err == nil && isOver(reply) && w.jobs[slot] == job {
		w.sights[job].Seen = answered.Sub(epoch).Seconds()
		w.jobs[slot] = -1
		if w.spare < len(o.bodies) {
			w.jobs[slot] = w.spare
			w.spare++
		}
	}
}

// outcome is a job whose end fell into the run.
type outcome struct {
	End float64 `json:"end"`
	sight
}

func (w *watch) report(o options, p pace, ends []float64) map[string]any {
	result := merge([]tally{w.seen}, o.seconds-p.warm)
	outcomes := []outcome{}
	for job, end := range ends {
		if w.sights[job].FirstPoll >= 0 && end < o.seconds.Seconds() {
			outcomes = append(outcomes, outcome{end, w.sights[job]})
		}
	}
	sort.Slice(outcomes, func(a, b int) bool { return outcomes[a].End < outcomes[b].End })
	polled := 0
	for _, one := range w.sights {
		if one.FirstPoll >= 0 {
			polled++
		}
	}
	result["outcomes"], result["timeline"] = outcomes, w.seconds
	result["late_calls"], result["jobs_polled"] = w.late, polled
	return result
}

func readEnds(path string, count int) ([]float64, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(data) != 8*count {
		return nil, fmt.Errorf("%s must hold %d ends", path, count)
	}
	ends := make([]float64, count)
	for i := range ends {
		ends[i] = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
	}
	return ends, nil
}

// isOver tells whether a GetTaskResponse says SUCCEEDED, ABORTED, FAILED or RETRYABLE_FAILED.
func isOver(reply []byte) bool {
	resource, _ := field(reply, resourceField)
	_, phase := field(resource, phaseField)
	return phase == 3 || phase == 4 || phase == 5 || phase == 8
}

// field returns the last value of a field: bytes, or a varint.
func field(message []byte, wanted protowire.Number) (content []byte, number uint64) {
	for len(message) > 0 {
		found, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return nil, 0
		}
		message = message[size:]
		size = protowire.ConsumeFieldValue(found, kind, message)
		if size < 0 {
			return nil, 0
		}
		if found == wanted && kind == protowire.BytesType {
			content, _ = protowire.ConsumeBytes(message)
		} else if found == wanted && kind == protowire.VarintType {
			number, _ = protowire.ConsumeVarint(message)
		}
		message = message[size:]
	}
	return content, number
}
