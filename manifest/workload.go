package manifest

import "time"

// A Workload is one workload file, with every default filled in. It is not changed after it was loaded.
type Workload struct {
	// APIVersion is the version of this format.
	APIVersion string `yaml:"apiVersion" check:"enum=stoa/v1,default=stoa/v1"`
	// Name of the workload: lower-case letters, digits and hyphens.
	Name string `yaml:"name" check:"required,name"`
	// Description says in a sentence what the workload is for.
	Description string `yaml:"description"`
	// Owner is who answers for the workload.
	Owner Owner `yaml:"owner"`
	// Criticality is how much the business depends on the workload.
	Criticality string `yaml:"criticality" check:"enum=low|medium|high|critical,default=medium"`
	// Risk is the workload's class under the EU AI Act.
	Risk string `yaml:"risk" check:"enum=minimal|limited|high,default=minimal"`
	// Data are the data sets, by name.
	Data map[string]*Data `yaml:"data"`
	// Models are the models, by name. An endpoint, a retraining and every other section refer to a model by this name.
	Models map[string]*Model `yaml:"models" check:"required,items=1"`
	// Endpoints are the names under which clients ask for inference, each answered by its targets.
	Endpoints map[string]*Endpoint `yaml:"endpoints" check:"required,items=1"`
	// Reliability: what happens when inference fails or a model decays.
	Reliability Reliability `yaml:"reliability"`
	// Security: who may do what.
	Security Security `yaml:"security"`
	// Cost: how use is measured.
	Cost Cost `yaml:"cost"`
	// Operations: monitoring, rollout and logs.
	Operations Operations `yaml:"operations"`
	// Performance: limits on the work that is taken in.
	Performance Performance `yaml:"performance"`
	// Principles: what a model must show before it may serve.
	Principles Principles `yaml:"principles"`

	// Dir is the absolute directory of the file, to which paths in it are relative. Parse leaves it empty.
	Dir string `yaml:"-"`
}

// An Owner is who answers for a workload.
type Owner struct {
	// Team that owns the workload.
	Team string `yaml:"team"`
	// Contact is how to reach the team, such as a mail address or a channel.
	Contact string `yaml:"contact"`
}

// A Data is one data set: where it lies and what its columns mean.
type Data struct {
	// Source is the path of a CSV (also .csv.gz) or Parquet file, relative to the workload file and inside its directory.
	Source string `yaml:"source" check:"required,path"`
	// Time is the column that orders the rows in time. When empty, the order of the rows is the order in time.
	Time string `yaml:"time"`
	// Features are the model's inputs, in the order in which a request gives them.
	Features []*Feature `yaml:"features" check:"required,items=1"`
	// Target is the column to predict. A data set without a target can be served but not monitored for decay.
	Target *Target `yaml:"target"`
}

// A Feature is one input column.
type Feature struct {
	// Name of the column.
	Name string `yaml:"name" check:"required,column"`
	// Type of the column's values.
	Type string `yaml:"type" check:"enum=number|integer|category|boolean|text,default=number"`
	// Unit of measurement, such as MWh or EUR.
	Unit string `yaml:"unit"`
	// Min is the least value that makes sense, in the feature's unit.
	Min *float64 `yaml:"min"`
	// Max is the greatest value that makes sense, in the feature's unit.
	Max *float64 `yaml:"max"`
	// Personal marks data about a person, as the GDPR defines it.
	Personal bool `yaml:"personal"`
	// Protected marks a characteristic on which the law forbids discrimination.
	Protected bool `yaml:"protected"`
}

// A Target is the column to predict.
type Target struct {
	// Name of the column.
	Name string `yaml:"name" check:"required,column"`
	// Classes are the values that the column takes, as written in the data.
	Classes []string `yaml:"classes" check:"required,items=2"`
}

// A Model is what the registry keeps versions of.
type Model struct {
	// Data names the data set that the model is trained on. Without it the model can be served, but neither monitored
	// for decay nor retrained.
	Data string `yaml:"data"`
	// Description says in a sentence what the model predicts.
	Description string `yaml:"description"`
}

// An Endpoint is a name under which clients ask for inference.
type Endpoint struct {
	// Description says in a sentence what the endpoint is for.
	Description string `yaml:"description"`
	// Targets share the endpoint's traffic by weight. When left out, the champion of the model that has the endpoint's
	// name answers.
	Targets []*EndpointTarget `yaml:"targets"`
	// Fallback lists who answers when the target chosen cannot, in order.
	Fallback []*Fallback `yaml:"fallback"`
}

// An EndpointTarget is a model version that takes a share of an endpoint's traffic.
type EndpointTarget struct {
	// Model that answers.
	Model string `yaml:"model" check:"required"`
	// Version of the model: a number from 1, or the alias champion, challenger or previous.
	Version Ref `yaml:"version" check:"default=champion"`
	// Weight is the target's share of the traffic, relative to the sum of all weights.
	Weight int `yaml:"weight" check:"min=0,max=1000000,default=100"`
}

// A Ref names a version of a model: a number from 1, or one of the aliases champion, challenger and previous.
type Ref string

// A Fallback answers when the candidates before it could not. Exactly one of Model, Rule and Answer is set.
type Fallback struct {
	// Model that answers.
	Model string `yaml:"model"`
	// Version of the model: a number from 1, or the alias champion, challenger or previous. It goes with model and is
	// champion when left out.
	Version Ref `yaml:"version"`
	// Rule decides by one feature.
	Rule *Rule `yaml:"rule"`
	// Answer is always the same.
	Answer *FixedAnswer `yaml:"answer"`
}

// A Rule decides between two classes by comparing one feature with a limit.
type Rule struct {
	// Feature to compare: of type number or integer, from the data set of the endpoint's model.
	Feature string `yaml:"feature" check:"required"`
	// Above is the limit, in the feature's unit.
	Above float64 `yaml:"above" check:"required"`
	// Then is the class to answer when the feature is above the limit.
	Then string `yaml:"then" check:"required"`
	// Else is the class to answer when it is not.
	Else string `yaml:"else" check:"required"`
}

// A FixedAnswer is an answer that looks at nothing.
type FixedAnswer struct {
	// Label is the class to answer.
	Label string `yaml:"label" check:"required"`
}

// Reliability says what happens when inference fails or a model decays.
type Reliability struct {
	// Inference bounds every attempt at an answer.
	Inference Inference `yaml:"inference"`
	// Retrain says, by model, how a successor is trained. A model that is not listed is never retrained.
	Retrain map[string]*Retrain `yaml:"retrain"`
}

// Inference bounds every attempt at an answer.
type Inference struct {
	// Timeout of one attempt.
	Timeout time.Duration `yaml:"timeout" check:"default=250ms"`
	// Retries is the number of further attempts on the same candidate after a failure worth retrying.
	Retries int `yaml:"retries" check:"min=0,max=10,default=2"`
	// Backoff is the mean wait before the first retry; it doubles with each further one, and is spread at random.
	Backoff time.Duration `yaml:"backoff" check:"default=10ms"`
	// RetryBudget is the number of retries allowed per request, over all requests: 0.2 allows one retry to five requests.
	RetryBudget float64 `yaml:"retry_budget" check:"min=0,max=1,default=0.2"`
	// Breaker stops asking a target that keeps failing.
	Breaker Breaker `yaml:"breaker"`
}

// A Breaker stops asking a target that keeps failing, and comes back to it step by step.
type Breaker struct {
	// Window is the number of most recent attempts looked at.
	Window int `yaml:"window" check:"min=1,max=100000,default=20"`
	// FailureRate is the share of failures in a full window at which the breaker opens.
	FailureRate float64 `yaml:"failure_rate" check:"above=0,max=1,default=0.5"`
	// OpenFor is how long the target is left alone before it is tried again.
	OpenFor time.Duration `yaml:"open_for" check:"default=5s"`
	// Ramp is the number of successes after which the target takes its full share again.
	Ramp int `yaml:"ramp" check:"min=1,max=100000,default=10"`
}

// A Retrain says how a successor of a model is trained and what it must show.
type Retrain struct {
	// Command is the program to run and its arguments. No shell is involved. {data} stands for the training file, {model}
	// for the file the command must write the model to, {metrics} for a file it may write metrics to, and {workdir} for
	// its working directory.
	Command []string `yaml:"command" check:"required,items=1"`
	// WindowRows is the number of most recent labelled rows to train on, the hold-out included.
	WindowRows int `yaml:"window_rows" check:"min=10,max=100000000,default=5000"`
	// Holdout is the share of the window, its most recent rows, kept from training to judge the candidate.
	Holdout float64 `yaml:"holdout" check:"above=0,below=1,default=0.2"`
	// Margin by which the candidate's accuracy on the hold-out must exceed the champion's.
	Margin float64 `yaml:"margin" check:"min=0,below=1,default=0"`
	// CooldownLabels is the number of labels that must arrive after a retraining before the next.
	CooldownLabels int `yaml:"cooldown_labels" check:"min=0,max=1000000000,default=1000"`
	// Timeout of the command, after which it is killed.
	Timeout time.Duration `yaml:"timeout" check:"default=10m"`
	// Approve says whether a proposed retraining runs by itself or waits for a person.
	Approve string `yaml:"approve" check:"enum=auto|manual,default=manual"`
}

// Security says who may do what.
type Security struct {
	// Approvers are, by model, the names of the API keys that may move the model's champion alias by hand.
	Approvers map[string][]string `yaml:"approvers"`
	// Aliases are, by model and alias, the conditions on moving the alias to a version. Any alias may have some; champion
	// and previous keep their own rules where a condition does not say otherwise.
	Aliases map[string]map[string]*AliasRule `yaml:"aliases"`
	// Webhooks says where webhooks may be sent to besides https addresses of the public internet.
	Webhooks Webhooks `yaml:"webhooks"`
}

// Webhooks tell other systems what happens in the registry.
type Webhooks struct {
	// Loopback allows receivers on this machine, over http as well.
	Loopback bool `yaml:"loopback"`
}

// An AliasRule is what an alias asks for before it moves.
type AliasRule struct {
	// Movers are the names of the API keys that may move the alias, or approve its move. Left out, that is the approvers
	// for champion and previous, and everybody for others.
	Movers []string `yaml:"movers"`
	// Gates that the version must have passed, by the names under which their results are recorded: quality, and the
	// metric of the model's gate.
	Gates []string `yaml:"gates"`
	// People is the number of different people who must agree. With 2 or more a move is proposed, and made when as many
	// have approved it.
	People int `yaml:"people" check:"min=1,max=10,default=1"`
}

// Cost says how use is measured.
type Cost struct {
	// Meter counts requests, rows and CPU time per caller, model and version.
	Meter Meter `yaml:"meter"`
}

// A Meter counts use.
type Meter struct {
	// Flush is how often counts are written to the store; a crash loses at most this much of them.
	Flush time.Duration `yaml:"flush" check:"default=5s"`
}

// Operations are monitoring, rollout and logs.
type Operations struct {
	// Monitor says, by model, how decay is noticed. Every model whose data set has a target is monitored; listing it
	// changes the settings.
	Monitor map[string]*Monitor `yaml:"monitor"`
	// Rollout says, by model, how a successor is let in. Every model has a rollout; listing it changes the settings.
	Rollout map[string]*Rollout `yaml:"rollout"`
	// Log says what is written to the log.
	Log Log `yaml:"log"`
}

// A Monitor says how the decay of a model is noticed.
type Monitor struct {
	// Decay is the test on the champion's errors.
	Decay Decay `yaml:"decay"`
	// LabelWait is how long a prediction waits for its label before it is forgotten.
	LabelWait time.Duration `yaml:"label_wait" check:"default=72h"`
	// Pending is the number of predictions that may wait for their labels; beyond it the oldest are forgotten.
	Pending int `yaml:"pending" check:"min=1,max=100000000,default=200000"`
}

// A Decay is a sequential test on a model's error rate.
type Decay struct {
	// Test is the statistical test: bernoulli-sr is the Shiryaev-Roberts procedure on a Bernoulli rate.
	Test string `yaml:"test" check:"enum=bernoulli-sr,default=bernoulli-sr"`
	// FalseAlarmLabels is the expected number of labels between two false alarms.
	FalseAlarmLabels int `yaml:"expected_labels_between_false_alarms" check:"min=100,max=1000000000,default=20000"`
	// Tolerance is the rise of the error rate that is too small to matter.
	Tolerance float64 `yaml:"tolerance" check:"min=0,below=1,default=0.02"`
}

// A Rollout says how a successor is let in: first as a shadow, then on a share of the traffic.
type Rollout struct {
	// Alpha bounds each probability of a wrong decision over a whole rollout, however often it is looked at: of letting
	// in a successor that is no better, and of withdrawing one that is as good as the champion.
	Alpha float64 `yaml:"alpha" check:"above=0,below=1,default=0.05"`
	// Margin is the error rate that the successor may have above the champion's.
	Margin float64 `yaml:"margin" check:"above=0,below=1,default=0.01"`
	// MaxLabels is the number of labels after which a stage ends without a decision, and the champion stays.
	MaxLabels int `yaml:"max_labels" check:"min=1,max=1000000000,default=20000"`
	// Strikes is the number of consecutive failures of the successor that end the rollout at once.
	Strikes int `yaml:"strikes" check:"min=1,max=1000000,default=5"`
	// Shadow is the stage in which the successor answers beside the champion and nobody receives its answers.
	Shadow Shadow `yaml:"shadow"`
	// Canary is the stage in which the successor answers a share of the traffic.
	Canary Canary `yaml:"canary"`
}

// A Shadow is the stage of a rollout whose answers nobody receives.
type Shadow struct {
	// MinLabels is the number of labels before the stage may end well.
	MinLabels int `yaml:"min_labels" check:"min=1,max=1000000000,default=50"`
	// Timeout after which the stage ends without a decision, and the champion stays.
	Timeout time.Duration `yaml:"timeout" check:"default=336h"`
}

// A Canary is the stage of a rollout that takes a share of the traffic.
type Canary struct {
	// Share of the traffic that the successor answers.
	Share float64 `yaml:"share" check:"above=0,below=1,default=0.1"`
	// MinLabels is the number of labels on the successor's own answers before it may be promoted.
	MinLabels int `yaml:"min_labels" check:"min=1,max=1000000000,default=50"`
	// Timeout after which the stage ends without a decision, and the champion stays.
	Timeout time.Duration `yaml:"timeout" check:"default=336h"`
}

// A Log says what is written to the log.
type Log struct {
	// Level is the least severe level written.
	Level string `yaml:"level" check:"enum=debug|info|warn|error,default=info"`
	// Format of the lines.
	Format string `yaml:"format" check:"enum=json|text,default=json"`
	// Requests says whether every request is logged.
	Requests bool `yaml:"requests" check:"default=true"`
}

// Performance limits the work that is taken in.
type Performance struct {
	// Runtime limits inference requests.
	Runtime Runtime `yaml:"runtime"`
}

// A Runtime limits inference requests.
type Runtime struct {
	// MaxRequestBytes is the size of the largest request body accepted.
	MaxRequestBytes int64 `yaml:"max_request_bytes" check:"min=1024,max=1073741824,default=16777216"`
	// MaxRows is the number of rows of the largest request accepted.
	MaxRows int `yaml:"max_rows" check:"min=1,max=10000000,default=100000"`
	// MaxInflight is the number of requests worked on at once; further ones are refused.
	MaxInflight int `yaml:"max_inflight" check:"min=1,max=1000000,default=1024"`
}

// Principles say what a model must show before it may serve.
type Principles struct {
	// Gates are, by model, what a candidate must reach on the hold-out before it is rolled out.
	Gates map[string]*Gate `yaml:"gates"`
}

// A Gate is a bound on a metric of a candidate on the hold-out.
type Gate struct {
	// Metric of the candidate on the hold-out.
	Metric string `yaml:"metric" check:"enum=accuracy,default=accuracy"`
	// Min is the least value with which the candidate passes.
	Min float64 `yaml:"min" check:"required,min=0,max=1"`
}
