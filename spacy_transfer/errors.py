"""All messages of the package, each with a code, and the function that imports optional packages.

00x config   01x encoders   02x pieces and windows   03x labels   04x data   05x fetching   06x training
07x devices, precision, cache   08x storage and optional packages   09x pictures   10x losses   11x texts
12x augmentation   13x and 14x from scratch, label queries   15x adapters   16x to 19x the training loop
20x shared encoders   21x other features   24x pretraining   44x how a command fails
"""

import importlib
from types import ModuleType

T001 = "[T001] '{field}' of {arch} must be a config block for {want}, got {got}."
T002 = (
    "[T002] '{name}' needs a loss for {want}, but {loss} is for {got}. Choose another [components.{name}.model.loss]."
)
T003 = "[T003] '{name}' needs the architecture spacy-transfer.TransferClassifier.v1, or one with the same interface; got {got}."
T004 = (
    "[T004] score_prefix = '{prefix}' renames the scores of '{name}', but [training.score_weights] has none of the "
    "new names. Add {prefix}cats_score = 1.0 there; otherwise every evaluation counts as the best."
)
T005 = "[T005] {block}: {field} = {value!r} is out of range. It must be {want}."
T006 = "[T006] '{name}' has no weights yet: call nlp.initialize() or load a trained pipeline first."

T012 = (
    "[T012] '{name}' is not a text encoder: its model type is '{family}'. Choose an encoder, an encoder-decoder or a "
    "decoder (BERT, T5, GPT-2, Llama, Mistral, Qwen, Gemma, ...)."
)
T014 = "[T014] The weights of '{name}' do not match its config.json: {error}"
T015 = "[T015] {file} is damaged or truncated: {error}. Fetch or copy it again."
T016 = "[T016] config.json of '{name}' cannot be used: {error}"
# Reasons that T016 gives.
T016_QUANTIZED = "it asks for quantized weights (quantization_config). Use the unquantized weights of the same encoder"
T016_CODE = "it asks for custom code (auto_map), which is never run. Use an encoder that is part of transformers"
T016_KERNEL = (
    "{key} = {value} asks for attention code from elsewhere, which is never downloaded. Remove the key; "
    "encoder.attention chooses the attention"
)
T016_ADAPTER = (
    "its folder contains an adapter ({file}), which would change the encoder. Merge it first with peft's "
    "model.merge_and_unload() and save the result, or move the adapter's files elsewhere"
)
T016_TYPE = "transformers has no model type '{family}'"
T014_MISSING = "no weights for {names}"
T017 = "[T017] {folder} has no tokenizer.json, and its tokenizer cannot be converted to one: {error}"
T018 = (
    "[T018] {folder} is a spaCy pipeline. Its spacy-transfer components are: {found}. Give the folder of one of them."
)

T021 = (
    "[T021] windows: stride = {stride} skips pieces or does not advance. Use 1 <= stride <= {room} for length = "
    '{length}, or "auto".'
)
T022 = (
    "[T022] windows: length = {length} exceeds the {limit} pieces that the encoder's positions allow. In "
    '[components.NAME.model.windows], set length = "auto" and stride = "auto", or length = {limit} and stride = '
    "{stride}."
)
T023 = "[T023] windows: length = {length} leaves no room for text next to {n_special} special pieces."
T024 = "[T024] piece_budget = {budget} is less than one window of {length} pieces."
T025 = (
    "[T025] {n_cut} text(s) had more than {length} pieces and lost their middle, as windows.keep = 'head_tail' says "
    "(shown once)."
)

T031 = "[T031] '{name}' needs at least {least} labels, but has {labels}."
T032 = (
    "[T032] '{name}' takes exactly one label per text, but this text has {found}: {cats}. If a text may have several "
    "labels or none, use transfer_textcat_multilabel. If some of these labels belong to another component, list only "
    "the labels of this one: labels = [...] under [initialize.components.{name}]. Text: {text!r}"
)
T033 = "[T033] The score of a label must be a number from 0 to 1, but '{label}' has {value}. Text: {text!r}"
T034 = "[T034] loss.class_weights has unknown labels: {unknown}. The labels are {labels}."
T035 = "[T035] loss.class_weights: the weight of '{label}' is {weight}. It must be above 0."
T036 = "[T036] A label must be a str, got {label} of type {type}."
T037 = (
    "[T037] positive_label = {label!r}: a positive label must be one of the two labels of an exclusive classifier, "
    "but '{name}' {problem}. Leave it out, or correct [initialize.components.{name}]."
)
T037_MULTILABEL = "takes any number of labels per text, each with its own score"
T037_COUNT = "has {n_labels} labels: {labels}"
T037_OTHER = "has the labels {labels}"
T038 = (
    "[T038] '{name}' ignores labels that it does not have: {unknown}. To train on them, add them with "
    "nlp.get_pipe('{name}').add_label(...), or to the labels it is initialized with (shown once)."
)
T039 = (
    "[T039] '{name}' has no text to initialize from: the training data is empty. [corpora.train] reads .spacy files; "
    "'spacy transfer convert' creates them from tables and records."
)

T041 = "[T041] Cannot tell the format of {path}: '{suffix}' is not one of {formats}. Convert or rename the file."
T042 = "[T042] {path} is not {encoding}: byte 0x{byte:02X} at offset {offset} (line {line}). {way_out}"
T042_GIVEN = "Give the right encoding with --encoding (utf-8, cp1252, ...), or save the file as UTF-8."
T042_GUESSES = (
    "Its encoding cannot be detected for sure. Choose the one that reads well below, as in --encoding cp1251, or save "
    "the file as UTF-8:\n"
    "{readings}"
)
T043 = (
    "[T043] {n_bad} bad line(s), {n_shown} shown, nothing written:\n"
    "{lines}\n"
    "Correct them, or leave them out with --skip-bad."
)
# Reasons that T043 gives for a bad line, after file and line number.
T043_JSON = "invalid JSON: {reason}"
T043_OBJECT = "expected a JSON object, not {value}"
T043_TWICE = "duplicate key '{key}'"
T043_CSV = "invalid {format}: {reason}"
T043_COLUMNS = "{n_cells} columns, but the header has {n_columns}"
T043_HEADER = "the header again: were several files joined? Remove the line"
T043_OPEN = (
    "the quotation mark opened in line {line} is never closed and takes in the lines below: close or remove it; if "
    "quotation marks are ordinary characters in this file: --quoting none"
)
T043_SWALLOWED = (
    "one cell contains whole rows, as if the quotation mark opened in line {line} stayed open down to line {last}: "
    "close or remove it; if quotation marks are ordinary characters in this file: --quoting none; if the cell is "
    "right: --quoting csv"
)
T043_MARKS = "the label {value} has quotation marks of its own: remove the space before them, or the marks"
T043_CELL = "an unreadable value: {reason}"
T043_NO_TEXT = "no text: the field '{field}' is missing or empty"
T043_FILE = "no text: the file {file} is blank"
T043_TEXT_TYPE = "the field '{field}' holds {value}, not a str"
T043_TEXT_LENGTH = "a text of {n_characters:,} characters; spaCy takes at most {longest:,}: split it into several texts"
T043_SURROGATE = "half a surrogate pair, {value}, at character {position}, is not valid text: remove it"
T043_NO_LABEL = "no label: {fields} missing or empty"
T043_MIXED = "{fields} at once: keep one of them, or choose one with --label-field, --labels-field or --cats-field"
T043_LABEL_TYPE = 'the label {value} is not a str: write "{value}", or name the numbers with --label-names'
T043_LABEL_LIST = "the field '{field}' takes exactly one str, not {value}: lists belong in '{labels}'"
T043_LABELS_TYPE = "the field '{field}' takes a list of str, not {value}"
T043_LIST = (
    "the field '{field}' holds {value}, which looks like a list but is not JSON, or is in the wrong field: write "
    'several labels as JSON, ["a", "b"], or joined by --separator, in the field given by --labels-field'
)
T043_PYTHON = ". This is Python's notation; write it with json.dumps"
T043_MISSING = "the label '{label}', which means no label (--missing-labels)"
T043_INVISIBLE = "the label {value} has no visible character"
T043_NO_NAME = "the label {value} has no name: the numbers with a name are {numbers}"
T043_TRUTH = "the label column '{label}' holds {value}, expected 0 or 1"
T043_TOOL = "an export of {tool} with {value} as {field}, which does not give labels"
T043_SKIPPED = "{field}: {value}"
T043_SKIPPED_CANCELED = "canceled or skipped"
T043_SKIPPED_NONE = "no annotation yet"
T043_VOTES = "annotators disagree in {tool}: {votes}. Resolve it there"
T043_CATS_TYPE = "the field '{field}' takes an object that maps labels to numbers, not {value}"
T043_CATS_VALUE = "the label '{label}' has the value {value}, expected a number from 0 to 1"
T043_ATTRIBUTE = "the field '{field}' holds {value}, expected a str, a number, a list of these, or nothing"
T043_UNKNOWN = "the label '{label}' is not in {path}"
T044 = "[T044] {path} has no usable text ({n_bad} bad lines, {n_skipped} left out). Correct the file, or leave it out."
T045 = (
    "[T045] Already exists: {paths}. Overwrite with --force, or choose another folder; to add a split with the same "
    "labels: --labels {labels}"
)
T045_FOLDER = "[T045] {path} is a file. Choose a folder."
T046 = (
    "[T046] {path} has the columns {columns}: {problem}. Choose columns with --text-field and one of --label-field, "
    "--labels-field, --cats-field or --label-columns{hints}"
)
T046_DELIMITER = "Detected delimiter: {delimiter}; choose another one with --delimiter"
T046_HEADER_LINE = "Line {line} has these columns: --header-line {line}"
T046_NO_HEADER = "If the file has no header, name its columns: --columns text,label"
T046_TRUTHS = "For columns of 0 and 1: --label-columns '{columns}'"
T046_MISSING = "no column for {fields}"
T046_SEVERAL = "{fields} cannot all hold the labels"
T046_TWICE = "duplicate column '{field}'"
T047 = "[T047] {path} cannot be read as {format}: {reason}. Write it again, or give another file."
T047_ROWS = "expected a list of objects"
T047_CHANGED = "it changed while it was being read: convert it again when no other program writes to it"
T047_LABELS_LIST = "expected a list, or one label per line"
T047_LABEL_TWICE = "duplicate label '{label}'"
T047_NO_LABELS = "it has no labels"
T047_HEADER = "it has no header"
T048 = "[T048] {first} and {second} are both named '{name}', but a split is named after its file. Rename one of them."
T049 = '[T049] spaCy has no language \'{lang}\': {reason}. Choose one as in spacy.blank("en"), or "xx" for any.'

T050 = (
    "[T050] '{source}' is neither a folder here nor a name on the hub (those look like 'owner/name'). Check the path, "
    "or give a folder with config.json, model.safetensors and tokenizer.json."
)
T051 = (
    "[T051] '{source}' (revision {revision}) is not on this machine, and the hub cannot be reached. Tried:\n"
    "{tried}\n"
    "Ways out: {ways_out}"
)
T051_COPY = "copy a folder with config.json, model.safetensors and tokenizer.json here, and give its path"
T051_FETCH = "with network access, run: python -m spacy transfer fetch {source} FOLDER, and give that FOLDER"
T051_FOLDER = (
    "if it is the path of a folder (paths are relative to the current folder), fetch an encoder into it first: python "
    "-m spacy transfer fetch {known} {folder}"
)
T052 = (
    "[T052] There is no folder '{source}' here, and the hub has no such name with revision {revision} that you can "
    "access: {reason}. Check the name and the revision; for a gated or private encoder, log in with 'huggingface-cli "
    "login' or set HF_TOKEN."
)
T053 = (
    "[T053] '{source}' has no model.safetensors, only {found}, and pickled weights are never loaded. If you trust the "
    "source, convert it, then fetch the folder 'converted':\n"
    'python -c "from transformers import AutoModel, AutoTokenizer; '
    "AutoModel.from_pretrained('{source}').save_pretrained('converted', safe_serialization=True); "
    "AutoTokenizer.from_pretrained('{source}').save_pretrained('converted')\""
)
T054 = (
    "[T054] '{source}' is not a complete encoder: {problem}. An encoder needs config.json, model.safetensors (or its "
    "index and all shards) and a tokenizer, preferably tokenizer.json."
)
T054_MISSING = "{files} missing"
T054_CONFIG = "config.json has no model_type ({reason})"
T054_WEIGHTS = "{file} is truncated or not a safetensors file, for example a Git LFS pointer ({reason})"
T055 = "[T055] {path} exists and is not a fetched encoder. Choose another folder, or replace it with --force."
T055_PLACE = "[T055] {path} {problem}, so it is not replaced. Choose another folder."
T056 = (
    "[T056] {file} of '{source}' has the SHA-256 {found}, but {authority} says {expected}: it was altered, or damaged "
    "on the way. Remove that copy ({place}) and fetch it again."
)
T057 = "[T057] {path} is not what was fetched: {problem}. Fetch it again with --force."
T057_LOCK = "its encoder.lock.json cannot be read ({reason})"
T057_FORMAT = "unknown format"
T057_MISSING = "{file} is missing"
T057_CHANGED = "{file} was changed (SHA-256 {found}, not {expected})"
T058 = "[T058] {path} holds {held}, not {wanted}. Choose another folder, or replace it with --force."
T059 = "[T059] A revision ({revision}) is only for a name on the hub, but '{source}' is a folder. Leave --revision out."

T061 = "[T061] Cannot freeze {frozen} layers: '{name}' has {n_layers}. Use -1 to freeze nothing, 0 for the embeddings, 1 to {n_layers} for layers, or \"all\"."
T062 = "[T062] tuning: unfreeze_down_to = {end} is above the initial frozen depth, {start}."
T063 = (
    "[T063] tuning.unfreeze_unit = 'epochs' needs to know the epoch. Add to the config:\n"
    "[training.before_update]\n"
    '@callbacks = "spacy-transfer.set_epoch.v1"'
)
T064 = (
    "[T064] head_init: a linear probe needs a linear head, but head.hidden = {hidden}. Leave it empty, or use "
    "spacy-transfer.RandomInit.v1."
)

T071 = (
    "[T071] device = '{device}' is not available here. Available: {have}. To train on another device, override it: "
    '--components.NAME.model.device "auto" (NAME is the component), or device = "auto" in the config.'
)
T072 = (
    "[T072] precision = '{precision}' is not supported by {device}. Supported: {have}. To train in another precision, "
    'override it: --components.NAME.model.precision "auto" (NAME is the component), or precision = "auto" in the config.'
)
T073 = "[T073] gradient_checkpointing: transformers does not support it for '{family}'. Set it to false."
T074 = "[T074] Cannot write to the cache in {folder}: {error}. Choose another cache_dir, or null to use memory only."
T075 = "[T075] The cache in {folder} cannot store more: {error}. Training continues; later states are computed again."
T076 = "[T076] A file of the cache in {folder} is damaged. Its contents are computed again (shown once)."
T077 = (
    "[T077] The cache is full ({megabytes} MB, {n_kept} entries): the states of other texts are computed in every "
    "epoch. Raise cache.memory or set cache.cache_dir (shown once)."
)
T078 = (
    "[T078] Out of memory with {budget} pieces in a micro-batch; from now on at most {half}. Set piece_budget = "
    "{half} to start with that."
)
T079 = "[T079] fp16 overflowed: this step is skipped and the loss scale halved, from {scale:g} to {half:g}."

T300 = (
    "[T300] The environment variable {name} is '{value}'. Use one of {known}, or unset it: then the fastest precision "
    "is measured."
)
T301 = (
    "[T301] The pipeline was saved with {saved}, which is not available here. It predicts with {taken} instead. "
    'To choose yourself: spacy.load(..., config={{"components.NAME.model.{field}": "auto"}}), or on the command line '
    '--components.NAME.model.{field} "auto" (NAME is the component).'
)
T302 = (
    "[T302] '{name}' was saved with {saved}, which is not available here. It can predict, but it would not train as "
    'its config says. Override it: --components.{name}.model.{field} "auto"'
)
T303 = (
    "[T303] '{name}' was saved by spacy-transfer {found}, which is newer than the installed {installed}. If something "
    "fails: pip install 'spacy-transfer>={found}'"
)
T304 = (
    "[T304] precision = 'bf16': this CPU only emulates it, many times slower than fp32. Use \"auto\" to get the "
    "faster one."
)

T081 = "[T081] '{package}' is required here but not installed. Run: pip install 'spacy-transfer[{extra}]'"
T082 = "[T082] {file} is missing, damaged or altered: {error}. Restore the pipeline from a copy, or train it again."
T082_LISTED = "the checksum of {name} is missing, or no such file belongs to it"
T083 = "[T083] {folder} was saved in format {found}; this version reads {known}. Run: pip install -U spacy-transfer"
T084 = "[T084] Cannot evaluate on {file}: {error}. Give a .spacy file with annotated documents."

T099 = "[T099] Cannot draw {path}: {error}. Give a config file, or the folder of a trained pipeline."

T100 = (
    "[T100] loss: {loss}, or a loss inside it, compares or mixes document vectors, but {head} reads states. Choose "
    "another head, or another loss."
)
T101 = "[T101] loss: {name} is nested in another {name}, where it would count twice. Leave one of them out."

T110 = (
    "[T110] text.sources names '{source}', but no extension attribute '{name}' is registered and this document has no "
    "value for it. Call {kind}.set_extension('{name}', default=None) before the pipeline runs, or correct the name."
)
T111 = (
    "[T111] text.sources: '{source}' holds a {type}, which has no text. Expected a str, Doc, Span, Token, span group, "
    "or a list of these."
)
T112 = (
    "[T112] text.sources: '{source}' is missing or empty. Set it before the component runs, or choose text.missing = "
    '"skip" or "text". To train or evaluate on .spacy files that hold it: @readers = "spacy-transfer.Corpus.v1" in '
    "[corpora.train] and [corpora.dev], and 'spacy transfer evaluate'. Text: {text!r}"
)
T113 = (
    "[T113] '{name}' reads {sources}, which the annotated documents have but the predicted ones lack: it is left out "
    'in training. Read the data with @readers = "spacy-transfer.Corpus.v1" (shown once).'
)
T114 = (
    "[T114] '{name}' gives no usable name for an extension attribute (doc._.name). With --attribute-field, give each "
    "field once: not the text or the labels, and with letters in its name."
)

T120 = (
    "[T120] augmentation: {name}.draw returned {found} for {n_texts} text(s). It must return a list with one str per "
    "text, in order."
)
T121 = "[T121] augmentation: {name}.draw returned {value!r} of type {type}, not a str, for the text {text!r}."
T122 = (
    "[T122] augmentation: {name}.draw returned an empty text for {text!r}. Keep at least one word, or return the text "
    "unchanged."
)
T123 = (
    "[T123] augmentation: {name}.draw returned half a surrogate pair, {value}, at character {position}, for {text!r}. "
    "Do not split characters."
)
T124 = '[T124] augmentation: mask_text = {value!r} has no visible character. Choose one, "_" for instance, or mask = 0.'
T125 = (
    "[T125] {path} has no component '{name}' with an augmentation. spacy-transfer components with one: {found}. "
    "Choose with --component."
)
T126 = (
    "[T126] '{name}' does not augment texts: its block is {block}. Add to {path}:\n"
    "[components.{name}.model.augmentation]\n"
    '@misc = "spacy-transfer.Augmentation.v1"'
)
T127 = "[T127] The training corpus '{corpus}' of {path} has no texts that '{name}' can learn from."

T130 = (
    "[T130] encoder: width = {width} is not divisible by heads = {heads}. Choose heads from {divisors}, or another "
    "width."
)
T131 = (
    "[T131] tokenizer: no words to build pieces from in {n_texts} text(s){hint}. Initialize with texts, or lower "
    "tokenizer.min_frequency."
)
T132 = (
    "[T132] tokenizer: size = {size} has no room for the special pieces and the {n_characters} characters of the "
    "texts. Choose {least} or more, or spacy-transfer.BPE.v1."
)
T133 = (
    '[T133] encoder.tokenizer must be a tokenizer block: @misc = "spacy-transfer.WordLevel.v1", '
    '"spacy-transfer.BPE.v1" or "spacy-transfer.Unigram.v1"; got {got}.'
)
T134 = "[T134] pretrain: found no text in {n_texts} line(s). Give files with raw texts."
T135 = (
    "[T135] pretrain: the tokenizer of '{name}' has no {pieces}, so nothing can be masked. Choose an encoder that was "
    "trained with masks."
)
T136 = "[T136] {path}:{line}: {reason}. Correct the line, or name the text field with --text-field."
T137 = "[T137] {path} already exists. Choose another folder, or replace it with --force."
T138 = "[T138] {path}: expected one spacy-transfer component, found: {found}. Choose one with --component."

T145 = "[T145] head: heads = {heads} does not divide the encoder's width of {width}. Choose one of {fitting}."
T146 = (
    "[T146] head.init = 'names': the name of {labels} gives no pieces to initialize a query from. Give the label a "
    'name in words, or set init = "random".'
)
T147 = (
    "[T147] head_init: a linear probe needs a linear head, but LabelQueryHead is a decoder. Use "
    "spacy-transfer.RandomInit.v1."
)
T148 = (
    "[T148] pooling: LabelQueryHead reads the states themselves, so the weights of {pooling} would never be used. Use "
    "spacy-transfer.MeanPooling.v1."
)

T155 = (
    "[T155] adapter: nothing matches the targets {targets} above the frozen depth. The linear layers there are: "
    "{there}."
)
T156 = (
    "[T156] adapter: '{family}' has no layer above the frozen depth {depth}, so there is no place for the adapter. "
    "Choose a frozen_depth below {n_layers}, or tuning.adapter = null."
)
T157 = (
    "[T157] Only the adapter and the head were saved here, and the encoder they were trained on, '{name}', is not "
    "available on this machine: {error}\n"
    'Fetch it, then load with its folder as encoder.name: spacy.load(..., config={{"components": {{NAME: {{"model": '
    '{{"encoder": {{"name": FOLDER, "revision": None}}}}}}}}}})'
)
T157_NOT_HERE = "'{name}' (revision {revision}) is not here, and loading a pipeline never asks the hub. Tried:\n{tried}"
T158 = (
    "[T158] '{name}' is not the encoder that the adapter was trained on: its weights have the SHA-256 {found}, not "
    "{expected}. Give the original one, or its revision, as encoder.name."
)
T159 = (
    "[T159] tuning: trainable = '{trainable}' does not work with an adapter, which freezes all of the encoder's own "
    "weights. Set trainable to 'all', or adapter to null."
)

T160 = (
    "[T160] The pipeline was saved with the adapter {stored}, but the config says {config}. Load it with the first; "
    "to change the adapter, merge it and train on: python -m spacy transfer merge PIPELINE OUTPUT"
)
T161 = (
    "[T161] adapter: save = 'adapter' needs an encoder that can be loaded again by its name, which {block} cannot. "
    "Use save = 'all'."
)
T162 = "[T162] {pipeline} has no adapter to merge: its components are {components}."
T163 = "[T163] {path} already exists. Choose another folder, or replace it with --force."
T165 = "[T165] There is no checkpoint in {folder} to resume from. Leave --resume out to start a run."
T166 = (
    "[T166] {folder} holds the checkpoints of a run. Continue it with --resume, choose another --output, or discard "
    "it and start over with --force."
)
T167 = (
    "[T167] The run in {folder} was started with something else:\n"
    "{differences}\n"
    "Set it back, start a new run in another folder, or continue anyway with --force."
)
T168 = "[T168] The checkpoint {folder} cannot be read ({error}). Going back to the one before, {other}."
T169 = (
    "[T169] Cannot write a checkpoint in {folder}: {error}. The last one stays, training continues, and the next "
    "checkpoint is tried when it is due (shown once)."
)

T170 = (
    "[T170] Step {step} (epoch {epoch}) has a non-finite loss or gradient (NaN or infinity): {losses}, at learning "
    "rate {rate:g}. Its texts are number {lines} of the training data. Lower the learning rate, check these texts, or "
    "skip such steps with --on-nan skip. The last checkpoint stays as it is."
)
T170_IN_A_ROW = (
    "[T170] {n} steps in a row had a non-finite loss or gradient (NaN or infinity), up to step {step} at learning "
    "rate {rate:g}. Skipping more of them cannot help. Lower the learning rate or check the data, then start a new "
    "run."
)
T170_SCORES = (
    "[T170] After step {step} the scores of {n} dev text(s) are not finite (NaN or infinity), first of text number "
    "{first}. The weights are spoiled, so this pipeline is not saved. Lower the learning rate, then start a new run."
)
T171 = "[T171] The training data is empty. Check [corpora.train] and its paths."
T172 = "[T172] --checkpoint-every {value!r}: expected a number of steps such as 100, or a time such as 30s, 5m or 1h."
T173 = "[T173] Stopped after step {step}; everything is in {folder}. Resume with:\n{command}"
T174 = "[T174] No checkpoint in {folder} can be read: {problems}. Start over with --force."
T175 = (
    "[T175] None of the scores in [training.score_weights] was produced, only {scores}. Every score counts as 0, and "
    "the first evaluation stays the best (shown once)."
)
T176 = (
    "[T176] Step {step} (epoch {epoch}) skipped: {losses} at learning rate {rate:g} is not finite (NaN or infinity). "
    "Texts {lines} of the training data; {n_skipped} skipped so far."
)
T177 = "[T177] The run started with other versions, so its results may differ in the last digits: {differences}."
T178 = "[T178] Rank {rank} failed, so the job has ended: {reason}. Fix the cause, then continue with --resume."
T179 = (
    "[T179] Only spacy-transfer components can train on several ranks, but {names} would learn too. Add it to "
    "[training] frozen_components, or train on one rank."
)
T179_FEATURES = (
    "[T179] The block model.features of {names} has a torch layer whose gradients are not summed over ranks. Train on one "
    "rank, or without that layer."
)

T180 = "[T180] {ranks} ranks need as many devices, but there are only {devices}. Lower --ranks."
T181 = "[T181] The ranks differ in {what}: {values}. All ranks need the same config, data and versions."
T185 = "[T185] The batcher made no batch in a whole epoch of training data. Are all texts longer than its size allows?"

T186 = (
    "[T186] {folder} holds the runs of --seeds or --sweep. Continue them with --resume, choose another --output, or "
    "discard them with --force."
)
T187 = (
    "[T187] --sweep {spec!r}: expected a dotted config key and one or more values, each once, such as "
    "training.optimizer.learn_rate=1e-4,3e-4, or config files: one.cfg,other.cfg"
)
T188 = (
    "[T188] --keep-one-in {keep_one_in} with training.max_steps = {n_steps}: dropping trials early needs a number of "
    "steps. Set training.max_steps, or --keep-one-in 1 to train all trials to the end."
)
T189 = (
    "[T189] {run} was trained on other texts than the runs before it. If the config's reader does not sample at "
    "random, the data changed between the runs: start over with --force."
)
T190 = "[T190] None of the {n_trials} trials could be trained. The first failed with: {reason}"
T192 = "[T192] --seeds {value!r}: expected non-negative whole numbers, each once, such as 0,1,2"
T193 = "[T193] --stop-at does not work with --seeds or --sweep, which stop their runs themselves. Leave it out."
T194 = "[T194] {run} cannot be trained and is skipped: {reason}"
T195 = "[T195] --{option} does nothing without {needed}. Give it, or leave --{option} out."
# 37x and 38x: folders, files and their owners.
T370 = "[T370] {path} is in use by {holder}\nWait until it has finished, or choose another folder. Nothing was changed."
T371 = (
    "[T371] {folder} holds {names}, which no run of spacy-transfer wrote there. Choose another folder, move them "
    "away, or replace them with --force."
)
T380 = (
    "[T380] {folder} holds {names}, written by another command ({command}), which would be lost. Choose another folder, or "
    "discard them with --force."
)
T372 = (
    "[T372] No space left on the disk for {path}: it needs at least {needed}, and {free} are free. Existing files are "
    "not lost. Free some space, then {way_out}"
)
T373 = "[T373] Cannot write to {path}: {problem}. Choose another path."
T373_INPUT = "the command reads {other}"
T373_OUTPUT = "another output of the command goes there too"
T374 = "[T374] {folder}: completed what an interrupted command had started to write: {names}."
T374_FAILED = (
    "[T374] {folder} holds unfinished files of an interrupted command, and they cannot be completed: {error}. Make "
    "the folder writable, then run the command again."
)
T377 = "[T377] {path} is a link, and its target is never written to. Remove the link, or choose another folder."
T378 = (
    "[T378] {path} is not what it was at the checkpoint of step {step}. If it exists, it was moved aside; a new log "
    "starts with the next step."
)
T379 = (
    "[T379] {path} is missing: the best pipeline so far, of step {step}, is in no checkpoint. Put it back, or "
    "continue anyway with --force: then the best of the next evaluations becomes model-best."
)
T376 = "[T376] {path} already exists, and it is not {what}. Choose another path."
T375 = "[T375] {path} is {kind}, not a regular file. Give the file itself."

T200 = (
    "[T200] spacy-transfer.SharedEncoder.v1 has no weights of its own: the transformer component has them. 'spacy "
    "transfer detach' gives the classifier its own encoder."
)
T201 = (
    "[T201] '{name}' shares the encoder of a transformer component, but {problem}. The pipeline is {pipeline}. Put "
    "the factory 'transformer' of spacy-transformers before '{name}', and its name (or \"*\") into encoder.upstream."
)
T201_NONE = "no transformer component named '{upstream}' comes before it"
T201_SEVERAL = 'encoder.upstream = "*" could mean any of {found}'
T201_NO_NLP = "initialize was called without the pipeline: call nlp.initialize()"
T201_EMPTY = "'{upstream}' has no weights yet"
T202 = (
    "[T202] '{name}' got no states for {what}: the transformer component did not run on it. In training, a "
    "transformer in [training.frozen_components] must also be in [training.annotating_components]; otherwise, call "
    "nlp(...) or nlp.pipe(...) with the transformer enabled."
)
T203 = (
    "[T203] The transformer got other documents than '{name}' ({reason}). Both need the same batch in the same order, "
    "so leave sorting and splitting to [training.batcher]."
)
T204 = (
    "[T204] The transformer gives states of width {found}, but '{name}' was trained on width {width}. Use the "
    "transformer it was trained with, or initialize it again."
)
T205 = (
    "[T205] {field} = {value!r} does not work with a shared encoder: {reason}. Set it to {neutral}, or give the "
    "component its own encoder (spacy-transfer.PretrainedEncoder.v1)."
)
T206 = (
    "[T206] A shared encoder requires spacy-transformers, which is not installed. Run: pip install "
    "'spacy-transformers>=1.3.8'"
)
T207 = "[T207] '{name}' is not a transfer_textcat with {want}. This pipeline has: {found}."
T208 = (
    "[T208] '{family}' is an encoder-decoder, and the transformer component gives the states of its decoder, so it "
    "cannot be shared. Choose an encoder (BERT, RoBERTa, ...)."
)
T209 = "[T209] The pipeline already has a component '{name}'. Choose another name for the transformer."

T210 = "[T210] The transformer '{name}' has no fast tokenizer, which a spacy-transfer encoder needs."
T211 = "[T211] {folder} already exists. Choose another folder, or overwrite it with --force."
T212 = "[T212] '{name}' has {what}, which a transformer component cannot hold: {way_out}."
T215 = (
    "[T215] features: no extension attribute '{name}' is registered and this document has no value for it. Call "
    "Doc.set_extension('{name}', default=None) before the pipeline runs, or correct features.names. To train on "
    '.spacy files that hold it: @readers = "spacy-transfer.Corpus.v1". Text: {text!r}'
)
T216 = (
    "[T216] features: '_.{name}' is missing or empty in {where}. Set it, or leave it out of features.names; if only "
    'some documents lack it: features.missing = "mean" or a number. To train on .spacy files that hold it: @readers = '
    '"spacy-transfer.Corpus.v1"'
)
T217 = (
    "[T217] features: '_.{name}' holds {value!r}. Expected a finite number, a bool, or a list of these. Text: {text!r}"
)
T218 = (
    "[T218] features: '_.{name}' holds {found} numbers, but {want} in the first training document that has it. Every "
    "document needs the same number. Text: {text!r}"
)
T219 = (
    "[T219] features: the pipeline has no static vectors (their width is 0). Load some, [initialize] vectors = "
    '"en_core_web_md" or a folder, or leave spacy-transfer.StaticVectors.v1 out.'
)

T220 = (
    "[T220] features: the classifier was trained with static vectors of width {want}, but the pipeline has {found}. "
    "Load it with its own vocab."
)
T221 = (
    "[T221] features: '{name}' gives {got} for {n_docs} documents. Expected a Thinc layer that gives one row of "
    "finite numbers per document (Model[list[Doc], Floats2d]); within spacy-transfer.Tok2VecFeatures.v1, one row per "
    "token."
)
T222 = (
    "[T222] features are joined to the document vector, but the head {head} reads no vector. Leave out the features, "
    "or choose another head."
)
T223 = (
    "[T223] The pipeline was saved with features of width {stored}, and these do not match ({reason}). Keep the "
    "features block in its config as it was saved."
)

T240 = (
    "[T240] {folder} holds a pretraining already. Continue it with --resume, choose another --work, or discard it "
    "and start over with --force."
)
T242 = "[T242] {path} has no rows of pieces ({reason}). 'spacy transfer pretrain' writes such a folder."
T243 = "[T243] {folder} is damaged ({reason}) and cannot be resumed. Leave --resume out to start a new run."
T241 = "[T241] '{name}' needs the architecture spacy-transfer.MaskedLM.v1, or one with the same interface; got {got}."
T244 = (
    "[T244] pretrain starts its ranks itself, since only one process may read the texts. Use --ranks instead of "
    "torchrun. On several machines: stop it after the first step, put its --work folder where all can reach it, and "
    "run torchrun 'spacy transfer train WORK/config.cfg --output WORK --resume'; then set encoder.name to "
    "WORK/model-last."
)
T310 = (
    "[T310] This process was forked from one that used the GPU, and CUDA does not work after a fork. Use "
    "nlp.pipe(..., n_process=1), which keeps a GPU busy, or start new processes: "
    'multiprocessing.set_start_method("spawn").'
)

T360 = (
    "[T360] The cache in {folder} stops growing: {free} MB of this disk are free, and {reserve} MB are reserved for "
    "checkpoints and pipelines. Training continues; states that are not stored are computed again (shown once)."
)

T325 = (
    "[T325] {n_steps:,} steps see only {share:.0%} of your {n_texts:,} training texts. Seeing each of them once takes "
    "{n_needed:,} steps. Set the length in epochs: --training.max_epochs 3 --training.max_steps 0 for instance."
)
T326 = (
    "[T326] The learning rate is 0 in {n_zeros:,} of {n_steps} steps, first in step {first:,}: nothing is learned "
    "there. Its schedule ends before the training does. Set its total_steps to the number of steps, or use a schedule "
    'that knows it: [training.optimizer.learn_rate] @schedules = "spacy-transfer.WarmupLinear.v1", peak = 3e-4.'
)
T327 = "[T327] The dev data is empty, so no pipeline can be chosen as the best. Check [{where}] and its path."
T328 = (
    "[T328] The number of training steps is unknown, so the learning rate stays at its peak of {peak:g}. Train with "
    "'spacy transfer train', or set total_steps in [training.optimizer.learn_rate] (shown once)."
)
T329 = "[T329] No text of the {what} data has these labels of '{name}': {labels}. So {effect}."
T330 = "[T330] {key}: no such setting.{hint} [{section}] has: {known}."
T331 = "[T331] {key} = {value!r}: expected {want}."
T332 = '[T332] {key} = "{value}" is text, expected a number. Write {key} = {value}, without quotation marks.'
T333 = "[T333] {key} = {value} is not finite. Give a finite number."
T334 = "[T334] {key}: nothing in this config reads it.{hint}"
T335 = (
    "[T335] [training.logger] output_file: {path} exists and is not from this run, so nothing is written there. Move "
    "it, or choose another file. All results are in {log} as well."
)
T336 = (
    "[T336] tuning: with an adapter, all of the encoder's own weights are frozen, so frozen_depth = -1 is read as 0 "
    "(adapters in every layer). Set frozen_depth = 0 to say so."
)
T338 = (
    "[T338] The {n_steps:,} steps end before a second evaluation (training.eval_frequency = {every:,}). With 'spacy "
    "train', model-best would come from a single step. Lower eval_frequency, or use 'spacy transfer train', which "
    "also evaluates the last step."
)
T339 = "[T339] optimizer.learn_rate gives no number ({reason}). Are the numbers in its block in quotation marks?"
T340 = "[T340] encoder.dropout: the configuration of '{family}' has no dropout to set. Leave encoder.dropout at null."
T337 = (
    "[T337] The learning rate is 0, and nothing advances its schedule, so nothing is learned. Call "
    "optimizer.step_schedules() after each update, or set learn_rate to a number (shown once)."
)
T345 = (
    "[T345] '{name}' was initialized without annotated examples, but the config needs training texts for: {blocks}. "
    "Pass them with nlp.initialize(lambda: examples) before you train it."
)
T346 = (
    "[T346] '{name}' shares labels with '{other}', which runs before it: {labels}. Its scores overwrite those of "
    "'{other}' in doc.cats. Rename them in one of the two, to '{example}' for instance, and give it a score_prefix "
    "and its own labels under [initialize.components.{name}] (shown once)."
)
T347 = (
    "[T347] '{name}': the loss is {loss} (NaN or infinity), so no step is made. Lower the learning rate, or check "
    "these texts: {texts}. 'spacy transfer train' names the step and can skip such steps: --on-nan skip."
)

T348 = (
    "[T348] '{name}' is a trained classifier. Only its encoder is used; its head and its labels, {labels}, are dropped. "
    "To keep them: spacy transfer import FOLDER PIPELINE."
)
T349 = (
    "[T349] '{name}' is a sentence-transformers model. Ignored: {what}. To use it: pooling = {{\"@layers\": "
    '"spacy-transfer.AutoPooling.v1"}} in [components.NAME.model].'
)
T349_LENGTH = 'its max_seq_length of {length} (windows.length is {window}; "auto" follows it)'
T350 = (
    "[T350] pooling: AutoPooling does not support the encoder's modules.json: {problems}. Choose another pooling, "
    "spacy-transfer.MeanPooling.v1 for instance."
)
# Reasons that T349 and T350 give for a module that is not supported.
T350_TYPE = "{file} contains a {type}"
T350_PLACE = "its path leaves the encoder's folder"
T350_MODES = "pooling by {modes}"
T350_ACTIVATION = "the activation {activation}"
T350_INPUT = "it reads {name}"
T350_PICKLED = "it has no model.safetensors"
T350_SHAPE = "the shapes of its weights do not match its config.json"
T350_FINITE = "its weights contain NaN or infinity"
T350_WIDTH = "a Dense takes vectors of width {n_in}, but here they have {have}"
T350_GONE = "the weights of its Dense are missing from the folder"
T351 = (
    "[T351] pooling: AutoPooling reads how to pool from the encoder's folder, which a shared encoder does not have. "
    "Choose another pooling, spacy-transfer.MeanPooling.v1 for instance."
)
T352 = (
    "[T352] loss: the result of {name}.build() lacks {lacks}. Derive it from spacy_transfer.nn.losses.Loss, whose "
    "docstring explains each of them."
)
T353 = (
    "[T353] loss: {name} must return one finite loss per document, of shape (n_docs,), and its `activate` one score "
    "per document and label. For {n_docs} documents it returned: {problem}. Do not average over the documents: sums "
    "are divided once, at the step."
)
T354 = (
    "[T354] pooling: {name} must return one fp32 vector per document, of shape (n_docs, any width). For 2 documents "
    "in 3 rows of 4 pieces, states of width {width}, it returned: {problem}."
)

T355 = (
    "[T355] '{name}': loss.class_weights = \"balanced\" counts the labels of the training data, but the pipeline was "
    "saved without these counts, so its weights stay as they were. Initialize it with the data, or give pairs of "
    "label and weight."
)


T390 = (
    "[T390] No text in {paths} has a label. Name the label field with --label-field, --labels-field, --cats-field or "
    "--label-columns; for texts without labels, use 'spacy transfer pretrain'."
)
T391 = (
    "[T391] {path} is {found}, but this command reads .spacy files. Create them with: python -m spacy transfer "
    "convert {path} FOLDER"
)
T391_NONE = "[T391] {path} has no .spacy file{found}"
T392 = (
    "[T392] This does not look like a label column: {reason} ({shown}, ...). Name the right one with --label-field; "
    "if these are the labels after all, list them in a file and give it as --labels."
)
T393 = (
    "[T393] {n_labels:,} labels for each of {n_texts:,} texts make {n_values:,} values, too many for a .spacy file. "
    "If each text has exactly one label, use --label-field; otherwise give only the known values with --cats-field, "
    "or convert the texts in parts."
)
T394 = "[T394] --label-names {value}: {problem}. Expected neg,pos (from 0 on), 0=neg,4=pos, or a file with a JSON list."
T394_EMPTY = "every name needs at least one letter"
T394_TWICE = "duplicate name {name}"
T395 = "[T395] {path} is a spreadsheet: {way_out}"
T395_INSTALL = "save it as \"CSV UTF-8\" and convert that, or: pip install 'spacy-transfer[excel]'"
T395_SAVE = 'save it as .xlsx or as "CSV UTF-8" (File, Save as) and convert that'
T396 = "[T396] {option} {value} is not possible: expected {want}."
T396_ENCODING = "an encoding that Python knows, such as utf-8, cp1252 or utf-16"
T396_DELIMITER = "one character, or its name: comma, semicolon, tab, pipe"
T396_HEADER = "a line from 1 on, without --columns, which is for files that have no header"
T396_COLUMNS = "one name per column, as in text,label"
T397 = (
    "[T397] {path} unpacks to {size} MB or more, too much for the {there} MB of memory here. If it is meant to be "
    "that large, split it; if not, do not trust the file."
)
T398 = (
    "[T398] --name {names}: give one valid file name for each of the {n_sources} file(s), in their order: --name "
    "train --name dev"
)
T398_FIELD = "[T398] The field '{field}' cannot hold both the text and the labels. Name another field for the labels."
T398_COLUMNS = "[T398] --label-columns {columns}: name each column once, and no other field of labels."
T400 = "[T400] text.sources: '{source}' contains {problem}. Correct the attribute before the component runs."
T400_SURROGATE = "half a surrogate pair, {value}, at character {position}, which is not valid text"
T400_DEPTH = "lists nested more than {depth} deep; one of them may contain itself"
# 44x: how a command fails, whatever raised it; see cli/failures.py.
T440 = "[T440] {path} does not exist. {way_out}"
T440_HERE = "Paths are relative to the current folder, {folder}."
T440_FORMATS = "The file may have one of the formats {formats}."
T440_CONVERT = "To create it from tables or records: python -m spacy transfer convert TABLE {folder}"
T441 = "[T441] {path}: {reason}. Correct the path, or make the file readable and its folder writable for this user."
T442 = "[T442] {path} cannot be loaded ({reason}). It is damaged or altered: restore it from a copy, or train it again."
T443 = (
    "[T443] Not enough memory. In training, lower piece_budget, or set gradient_checkpointing = true; otherwise, "
    "lower --batch-size, or give smaller files."
)
T444 = "[T444] Error from spaCy: {error}"
T444_DESCRIPTION = "a file"
T445 = (
    "[T445] Unexpected error in spacy transfer {command}: {kind}: {error} (at {place}). If the place is your own "
    "code, correct it there; otherwise this is a bug in spacy-transfer: please report it."
)
T445_LOG = "The traceback to report is in {log}. Set {variable}=1 to see tracebacks here."
T446 = "[T446] The Python package '{package}' is required here but not installed. Run: pip install {package}"
T447 = "[T447] {error}. Give config settings as --section.key VALUE; --help lists the options."
T449 = "[T449] {path} is not UTF-8 text: {reason}. Save it as UTF-8."
T448 = (
    "[T448] The argument '{argument}' has bytes that are not valid text in this locale. Use a UTF-8 locale (export "
    "LC_ALL=C.UTF-8), or rename the file."
)
T470 = (
    "[T470] '{name}' has {n} special piece(s) besides those that frame a text: {markers}. In a text, each is read as "
    "one piece."
)
T450 = "[T450] {file} cannot be used: {problem}"
T450_LINK = "it is a link that leaves its folder. If you trust the folder, replace the link with a copy of the file"
T450_SIZE = "it is larger than {most} MB, which no such file needs to be"
T450_NESTED = "its values are nested too deeply"
T450_NO_OBJECT = "expected a JSON object, found {type}"
T450_NAME = "it names the file {name!r}, but only {want} in its own folder can be read"
T451 = "[T451] {file}: {key} = {value}, expected {want}. The file is damaged or altered: use an intact copy"
T451_MISSING = "(missing)"
T452 = "[T452] {file}: the weight '{name}' {problem}. The file is damaged or altered: use an intact copy"
T452_DTYPE = "holds {dtype}, expected {want}"
T452_FINITE = "contains NaN or infinity"
T452_TWICE = "is also in {other}"
T452_OWNER = "belongs to no weight of this pipeline"
T452_SIZE = "has the wrong size or type"
T452_ADAM = "lacks one of step, exp_avg and exp_avg_sq"
T452_PLACES = "does not hold {want}"
T453 = "[T453] {file} does not match the weights: check {keys} ({problem})"
T453_LARGE = "it asks for a tensor of shape {shape}, larger than all the weights"
T453_SHAPE = "'{name}' has the shape {found}, but the configuration needs {wanted}"
T454 = (
    "[T454] {file} cannot be read as a tokenizer: {error}. If a newer version of the tokenizers library wrote it: pip "
    "install -U tokenizers; otherwise, use an intact copy"
)
T455 = (
    "[T455] The tokenizer of '{name}' has pieces above the {n_rows} rows of the encoder's embedding: {pieces}. Add "
    "rows to the encoder (model.resize_token_embeddings(len(tokenizer)), save, train), or use its own tokenizer"
)
T453_LAYERS = "{n_stored} layers are stored under '{path}', but the configuration has {length}"
T473 = (
    "[T473] '{name}' cannot be used: {problem}. Encoders of the family '{family}' do not work here. Choose another one."
)
T473_RUNS = "a run on two rows failed ({error})"
T473_SHAPE = "it gives states of shape {shape} instead of {expected}"
T473_ALONE = (
    "the states of a text change by {share:.1%} of their size when it is padded to the length of a longer one, so its "
    "scores would depend on the other texts in its batch"
)
T473_DIRECTION = "a piece {sees} those to its right"
T473_RESUMED = (
    "with the states after depth {depth} cached, the last states differ by {share:.1%} of their size "
    "(tuning.frozen_depth = -1 caches none)"
)
T474 = (
    "[T474] '{name}': in the family '{family}', padding changes the states of a text, here by {share:.2%} of their "
    "size. The scores of a text vary by about as much with the other texts in its batch."
)
T475 = (
    "[T475] '{name}' cannot be used: the layers of the family '{family}' cannot be told apart, so none can be frozen "
    "or get its own learning rate. Choose another encoder."
)
T780 = (
    "[T780] encoder: bidirectional = {value} is not possible for '{name}', of the family '{family}'. Leave it out. Both "
    "directions by choice have Llama, Mistral, Qwen2, Qwen3 and Gemma."
)
T781 = "[T781] encoder: attention = '{attention}' is not possible here: {reason}. Use attention = \"auto\"."
T781_CAP = "it would leave out the cap on attention logits (attn_logit_softcapping) that the encoder was trained with"
T781_BOTH_WAYS = "its kernel takes no mask for bidirectional = true"
T782 = (
    "[T782] pooling: ClsPooling reads the first piece, which in '{family}' has seen nothing of the text to its right. Use "
    "spacy-transfer.LastPooling.v1 or MeanPooling, or a family that allows [components.NAME.model.encoder] bidirectional = "
    "true."
)
T783 = (
    "[T783] An encoder of the family '{family}' that reads in both directions cannot become a transformer component, which "
    "would read it from left to right. Leave it in its classifier."
)
T784 = (
    "[T784] A document has no span group '{group}' (doc.spans), whose spans are to be classified; its groups: {groups}; its "
    "text begins '{text}'. Put a component that writes the group before this one, or, for .spacy files, read them with "
    "spacy-transfer.Corpus.v1."
)
T785 = (
    "[T785] A document has no sentence boundaries, and its sentences are to be classified; its text begins '{text}'. Put a "
    'sentencizer (nlp.add_pipe("sentencizer", before=...)), senter or parser before this component, or, for .spacy files, '
    "read them with spacy-transfer.Corpus.v1."
)
T786 = (
    '[T786] span._.cats of \'{text}\' is {value}; expected scores from 0 to 1 by label, such as {{"A": 1.0, "B": 0.0}}.'
)
T787 = (
    '[T787] span._.cats is registered with a getter or a method, and a component with target = "sents" or "spans:KEY" '
    "writes it. Register the other one under another name."
)
T788 = "[T788] '{name}' cannot classify '{target}': {problem}."
T788_SHARED = "its encoder belongs to a transformer component, which reads whole documents. Use spacy-transfer.PretrainedEncoder.v1"
T788_SOURCES = "model.text.sources reads {sources}, and a sentence or span has no groups of its own"
T789 = (
    "[T789] '{name}' classifies '{target}', but none is annotated in {n_docs} training documents. Annotate them by "
    "span._.cats (stored with DocBin(store_user_data=True)), by the labels of a group's spans, or give documents of one "
    "sentence or span with doc.cats."
)
T790 = (
    "[T790] '{name}' scores sentences or spans (span._.cats), and here a text gets one answer. Set [components.{name}] "
    'doc_cats = "max" or "mean" to have scores of documents too, or use spacy transfer apply.'
)
T792 = (
    "[T792] pretrain: hidden pieces are predicted from both sides, and an encoder of the family '{family}' reads from left "
    "to right. Choose an encoder that was trained with masks."
)
T791 = (
    "[T791] '{name}' classifies '{target}', and this command looks at whole documents. spacy transfer evaluate and apply "
    "know sentences and spans."
)
# 42x and 43x: configs from the command line, and searches.
T420 = "[T420] {key}: {what} has no such key.{hint} It has: {known}."
T421 = "[T421] {key} = {name}: nothing is registered under this name.{hint} Import your own code with --code."
T421_KIND = " It is registered as @{kind}."
T422 = "[T422] {key} cannot be set: {problem}"
T422_SECTION = "a key needs a section and a name, such as training.max_steps."
T422_COMPONENT = "the config has no component '{name}'.{hint}"
T422_VARIABLE = "{key} is the variable {value}; set that instead."
T422_BLOCK = "{key} is {value!r}, not a block. Give the whole block as JSON, or set the name of its function too."
T422_NAME = (
    'it is a block, not text. Choose another function with {key}.@{kind}, or give the block as JSON: \'{{"@{kind}": '
    '"NAME", ...}}\'.'
)
T423 = "[T423] {key}: {new} replaces {old}. Dropped, because it has no such key: {dropped} (shown once)."
T424 = "[T424] {key}: {name} needs {missing}. Set it too, or give the block as JSON: --{key} '{example}'"
T425 = "[T425] {key} = corpora.{name}: the config has no block [corpora.{name}].{hint}"
T426 = (
    '[T426] {key} = {value!r} is not valid JSON: {reason}. Put keys and text in double quotes: \'{{"@layers": '
    '"NAME"}}\'.'
)
T427 = "[T427] The config is not valid:"
T428 = "[T428] {path} cannot be imported ({reason}). --code takes a Python file that registers functions."
T429 = "[T429] {path} is a trained pipeline, which is shown as it is. Leave out {keys}."
T431 = "[T431] --by {measure}: no component of this config gives this score.{hint} Available: {known}."
T432 = (
    "[T432] --sweep {keys}: {value!r} must be a JSON list of {n} values, one per key, such as --sweep '{keys}=[1, "
    "0.1],[2, 0.2]'."
)
T433 = (
    "[T433] The trials are judged by different scores: {measures}. Choose one for all of them with --by, such as --by "
    "accuracy."
)
T434 = "[T434] --sweep training.seed and --seeds set the same value. Leave one of them out."
T435 = "[T435] --sweep {spec}: {path} does not exist. Give config files, or KEY=VALUE,VALUE."
T436 = "[T436] --max-seconds {value}: expected a number of seconds above 0, or 0 for no limit."
T430 = (
    "[T430] There is no option {option}. Give config values with their section, such as --training.max_steps 500; "
    "--help lists the options."
)
# 51x: trying a pipeline.
T510 = (
    '[T510] There are no texts to classify. Put each text in quotation marks: spacy transfer classify FOLDER "one '
    'text".'
)
T511 = (
    "[T511] '{pipeline}' gives no scores (doc.cats): it has no trained text classifier. Its components: {components}."
)

# ---- Python users ------------------------------------------------------------------------------------------------

T490 = "[T490] Expected texts as a list, column or one-dimensional array of str, got {problem}."
T491 = (
    "[T491] Cannot read the labels: got {problem}. Give one label (str, int or bool) per text, a 0/1 matrix with a "
    "row per text, or a list of str per text."
)
T492 = "[T492] Got {n_labels} labels for {n_texts} texts. Give one entry of labels per text."
T493 = (
    "[T493] {parameter}={value} is not a registered config block. Give a block class of spacy_transfer, a dict with its "
    "@-key, or a name. Known: {known}"
)
T494 = "[T494] {parameter}={value} is not possible: expected {want}."
T495 = (
    "[T495] The loss {loss} has no field '{field}', so {parameter}={value} would change nothing. Set {parameter} to "
    "its default, or use another loss."
)
T496 = (
    "[T496] The component cannot weight single texts, so sample_weight would change nothing. Use class_weight, or "
    "repeat the texts that should count more."
)
T497 = "[T497] config: no section that training reads has '{key}'. Start it with model., training. or {sections}."
T498 = "[T498] Cannot load '{folder}': {problem}. Give a folder that `save` or `spacy transfer train` wrote."
T499 = (
    "[T499] Will not replace '{path}': it is not empty and holds no spaCy pipeline. Give another folder, or empty it "
    "first."
)
T500 = (
    "[T500] partial_fit trains a pipeline with one component called 'transfer_textcat', but this one has {names}. "
    "Train it with `spacy transfer train` and a config that sources its components."
)
T501 = "[T501] {block} breaks a law: {law}{found}"
T502 = "[T502] Cannot tell what kind of block {block} is. Give kind=, one of {kinds}"
T503 = "[T503] Got texts of one class only, {label}. A classifier needs texts with at least two labels."

# ---- apply -------------------------------------------------------------------------------------------------------

T520 = "[T520] {problem}"
T520_SCORES = "Choose one of --all-scores, --above and --top: each says which scores are written."
T520_SPACY = (
    "A .spacy file holds the scores of all labels, so --all-scores, --above, --top, --min-score and --prefix do not apply "
    "to it. Write a table or JSONL, or leave them out."
)
T520_STDOUT = "A run that writes to standard output cannot be resumed. Write to a file, or leave --resume out."
T521 = "[T521] There is nothing to read in {source}: {problem}."
T521_EMPTY = "it is empty"
T521_FOLDER = "the folder has no files that end in {formats}"
T521_GLOB = "no file has such a name"
T521_ROWS = "it has no rows"
T522 = "[T522] Standard input has no name to tell its format by. Say it with --input-format, for example --input-format csv."
T523 = "[T523] {path} cannot be unpacked as {packing}: {reason}. It is damaged or cut short: copy it again."
T524 = "[T524] {path} has the columns {columns}: {problem}. Name the column that holds the text with --text-field."
T524_NONE = "{column} is none of them"
T524_CHOICE = "it is unclear which one holds the text"
T525 = "[T525] {path} has two columns called {column}. Give each column a name of its own."
T526 = (
    "[T526] The pipeline reads {attributes} of a document, and {path} has no such column. Add the column, or give .spacy "
    "files whose documents have the attribute."
)
T527 = (
    "[T527] The pipeline '{pipeline}' has no spacy-transfer component, so there is nothing to write. Its components: "
    "{components}."
)
T528 = "[T528] {path} is already there. Replace it with --force, or choose another output."
T529 = "[T529] {folder} holds an unfinished run. Continue it with --resume, or start again from the beginning with --force."
T530 = (
    "[T530] Cannot continue the run in {folder}: {what} changed since it began. Undo the change, or start again from the "
    "beginning with --force."
)
T531 = "[T531] {path} is already there, and no unfinished run with it: it is complete. Nothing was changed."
T532 = "[T532] {folder} is damaged: {reason}. Start again from the beginning with --force."
T533 = (
    "[T533] {path} already has a column '{column}', which is also the name of a new column. Give the new columns other "
    "names, for example with --prefix predicted_."
)
T533_FIELD = "it has a field '{column}' of its own, which is also the name of a new column: use --prefix"
T534 = "[T534] Cannot tell the output format of {path}: '{suffix}' is none of {formats}. Say it with --format."
T535 = "[T535] {folder} is in the way: no run of spacy-transfer made it. Move it, or choose another output."
T536 = "[T536] Stopped. What is done so far is in {folder}. Continue with:\n{command}"
T537 = "[T537] Whose labels are meant? component = {component!r}, and the components are: {components}."
T538 = "[T538] Expected texts as str, got {kind}: {value}."
T538_SURROGATE = "one with half a surrogate pair at character {position}"
T580 = "[T580] Cannot listen on {host}, port {port}: {reason}. {way_out}"
T580_USED = "another process uses it"
T580_PORT = "Choose another port with --port, or 0 for any free one."
T580_HOST = "Give a name or an address of this machine with --host, or 127.0.0.1 for this machine alone."
T581 = "[T581] Cannot serve {given}: {problem}."
T581_NAME = "a name has letters, digits, and the characters - _ . inside; give one as NAME=FOLDER"
T581_TWICE = "two pipelines are called {name}; give them different names as NAME=FOLDER"
T581_NONE = "give at least one pipeline"
T582 = "[T582] {path} cannot be used as a file of API keys: {problem}."
T582_EMPTY = "it has no key; write one key per line, at least {least} characters each"
T582_SHORT = "the key in line {line} has {n} characters, and at least {least} are required"
T582_ASCII = "the key in line {line} has characters other than visible ASCII, which a header cannot carry"
T583 = "[T583] {path} can be read by other users of this machine. Make it private: chmod 600 {path}"
T584 = (
    "[T584] Listening on {host} without API keys: everyone who can reach this machine can use the service. Give "
    "--api-key-file, or listen on 127.0.0.1."
)
T585 = "[T585] An API key is required. Send one of the keys as the header Authorization: Bearer KEY, or X-API-Key: KEY."
T586 = "[T586] The request cannot be used: {problem}."
T586_JSON = "the body is not valid JSON ({reason})"
T586_KIND = "expected the body as an object, such as {example}"
T586_FILE = "{field} is no file in Base64, which is how a picture or a sound is sent"
T586_TWICE = "the field '{field}' is there twice"
T586_FIELD = "{field}: {problem}"
T586_BOTH = "expected either text or texts"
T586_EMPTY = "texts is an empty list"
T586_BLANK = "{field} has no text"
T586_SURROGATE = "{field} has half a surrogate pair, which is no character"
T586_SCORES = "choose one of all_scores, above and top: each says which scores are given"
T586_ABSTAIN = "abstain is '{abstain}', which is a label of the pipeline"
T586_ATTRIBUTE = "{field} lacks '{name}', which the pipeline reads; give an object with text and {names}"
T586_UNREAD = "{field} has '{name}', which the pipeline does not read"
T586_LENGTH = "the header Content-Length is not a number"
T587 = "[T587] There is nothing at {path}. POST /classify classifies texts; /docs describes everything."
T588 = (
    "[T588] The body has more than {most:,} bytes. Send fewer texts at a time, or start the service with a larger "
    "--max-body."
)
T589 = (
    "[T589] {n:,} texts are more than the {most:,} of one request. Send them in parts, or start the service with a "
    "larger --max-texts."
)
T590 = (
    "[T590] {field} has {n:,} characters, and {most:,} are allowed. Shorten it, or start the service with a larger "
    "--max-length."
)
T591 = (
    "[T591] {n:,} texts are waiting, and {most:,} may wait. Try again in a moment, or start the service with a larger "
    "--max-queue."
)
T592 = "[T592] The service is not ready: {state}. Try again in a moment."
T592_LOADING = "it is loading its pipelines"
T592_STOPPING = "it is stopping"
T593 = "[T593] There is no pipeline '{name}'. The service has: {names}."
T593_WHICH = "[T593] Say which pipeline is meant, with the field pipeline or at /pipelines/NAME/classify: {names}."
T594 = "[T594] The pipeline failed at this request ({kind}: {error}). The log of the service has the traceback."
T594_SCORES = "[T594] The pipeline gives scores that are not numbers. Its weights are damaged: load or train it again."
T595 = "[T595] {name} was not loaded again, and the service goes on with the one that it has: {error}"
T596 = "[T596] The body did not arrive within {seconds:g} seconds."
T597 = "[T597] Expected the header Content-Type: application/json, got '{given}'."
T598 = "[T598] {method} is not possible at {path}. It takes {allowed}."
T599 = "[T599] The service failed at this request ({kind}). Its log has the traceback."

T540 = (
    "[T540] '{name}' was exported to {runtime}: it predicts, and cannot be trained or changed. Train the pipeline that it "
    "was exported from, and export that again."
)
T541 = "[T541] --to {to} is unknown. Choose one of {known}."
T542 = "[T542] '{name}' cannot be exported to {to}: {problem}."
T542_SHARED = "it reads the states of a transformer component. Give it an encoder of its own first: python -m spacy transfer detach"
T542_FEATURES = "its features hold a layer that runs on torch ('{layer}'). Train it without that layer"
T542_EXPORTED = "it is an exported network already. Export the pipeline that it was made from"
T542_MODEL = "its model is of another package"
T542_MASKED = "it learns from raw texts and scores none. Remove it from the pipeline"
T542_TRACED = "PyTorch's exporter does not manage its {part} ({kind}): {error}"
T542_DIFFERS = "the scores of the exported {part} ({kind}) differ from those of torch by up to {difference:.2g}"
T542_LARGE = "its weights take {size:.1f} GB, and an ONNX file holds less than 2. Keep fewer layers with --layers"
T542_CONFIDENCE = "its confidence for unknown labels cannot be exported. Calibrate it again without --train first, which drops the confidence"
T543 = "[T543] The pipeline '{pipeline}' has no spacy-transfer classifier to export. Its components: {components}."
T544 = "[T544] {file} is not a network that the installed onnxruntime {version} can run: {problem}."
T544_DAMAGED = "it is no ONNX file, or it is damaged. Export the pipeline again"
T544_EXTERNAL = "it names other files that hold weights, which is not allowed. Export the pipeline again"
T544_INPUTS = "its inputs are {found}, expected {expected}. Export the pipeline again"
T544_RUNTIME = "{error}. If it was made by a newer version, run: pip install --upgrade onnxruntime"
T545 = (
    "[T545] '{name}' in {precision} has an accuracy of {after:.4f} on {data}, and {before:.4f} before: a loss of {loss:.4f}, "
    "more than --max-loss {max_loss:g}. Nothing was written. Allow more, or choose --precision fp32."
)
T546 = "[T546] {target} is already there. Replace it with --force, or choose another target."
T547 = "[T547] {option} needs --data, a .spacy file with documents that were not trained on{more}."
T547_ANNOTATED = ": none of those in {data} has a label of '{name}'"
T548 = "[T548] Cannot keep {layers} layers: the encoder of '{name}' has {n_layers}. Choose 1 to {n_layers}."
T549 = "[T549] {option} does not apply to --to {to}. Leave it out."
T550 = (
    "[T550] '{name}' computes other scores here than where it was exported: up to {difference:.2g} apart. Export it again "
    "on this kind of machine, or with --precision fp32."
)
T551 = (
    "[T551] Without --data, how much accuracy int8 costs was not measured, and only quantization without calibration was "
    "tried. Give --data DEV.spacy to measure it."
)
T552 = (
    "[T552] Cannot shorten the encoder of '{name}': its configuration ({family}) does not say how many layers it has."
)

T660 = "[T660] label_texts has texts for {unknown}, but the labels are {labels}. Correct the names."
T661 = (
    "[T661] The names of these labels have no words in them: {labels}. Give each of them a text in label_texts.texts, or "
    "leave label_texts out."
)
T662 = "[T662] label_texts and features do not go together: a label has no features. Leave one of them out."
T663 = (
    "[T663] label_texts needs to know the labels, and the network has been resized without them. Add labels with "
    "'add_label' of the component."
)
T664 = (
    "[T664] {path}: label '{label}' has neither a text nor a list of texts. Write an object of labels and their texts, "
    '{{"refund": "money back", "card_lost": ["a lost card", "a stolen card"]}}.'
)
T665 = "[T665] There are no configs to choose from in {path}: expected two or more files that end in .cfg."
T666 = (
    "[T666] Nothing can be held out of {n_texts} texts with {n_labels} labels to compare configs on: most labels need two "
    "texts. Add texts, or train one of the configs as it is."
)
T667 = "[T667] {name} cannot be compared: {problem}."
T667_WHICH = (
    "it must have exactly one text classifier to score, with a factory of its own (transfer_textcat, "
    "transfer_textcat_multilabel, textcat or textcat_multilabel). Its components: {components}"
)
T667_KIND = "it gives {own}, and {other} gives {its}, so one score cannot judge both. Compare configs for the same kind of labels"
T667_TARGET = "its classifier '{component}' classifies '{target}', and only whole documents are compared"
T667_READER = (
    "its training texts, [{corpus}], are read by {reader}, so it is not known whether held-out texts are among them. Read "
    "them with {readers}"
)

T610 = "[T610] {path} is already there. Replace it with --force, or choose another folder."
T611 = "[T611] {path} cannot be replaced: {problem}. Choose another folder."
T611_OTHERS = "it is not a project of this command as it left it ({names})"
T611_DATA = "it holds the data, or the working folder"
T612 = "[T612] Cannot tell which file is for training: {problem}."
T612_UNNAMED = (
    "the names of {files} do not say train, dev or test. Rename them (train.csv, dev.csv, test.csv), or give one file"
)
T612_NONE = "none of {files} is called train. Rename one, or give one file"
T612_SEVERAL = "several are called {part}: {files}. Give one of each"
T880 = (
    "[T880] {path} holds no file of the formats {formats}, and no text files by label. Expected a folder for each label "
    "with a .txt file for each text, or a .txt file for each label with a text in each line; or put the texts into one "
    "table with a column of texts and a column of labels."
)
T613 = "[T613] {path}: it is unclear which column holds {what}. It may be {columns}. Choose one with {options}."
T614 = (
    "[T614] {path} has texts, but no labels: its columns are {columns}. Without labeled texts, say what the labels are: "
    "--labels labels.json, with names or descriptions. Training needs at least five labeled texts per label."
)
T615 = (
    "[T615] There are too few texts to take {part} from: {n_texts} texts ({labels}). A label needs at least five. Add "
    "texts, or give files of your own for dev and test."
)
T622 = (
    "[T622] With test_share = 0 there are no texts to evaluate on. Give a share above 0, or a file for test, such as "
    "test.jsonl next to train.jsonl."
)
T616 = "[T616] {problem}. Choose one of: {names}."
T616_FORM = "The recipe '{name}' is not for {kind} per text"
T616_NONE = "There is no recipe '{name}'"
T617 = "[T617] The budget cannot be kept: {problem}."
T617_FORM = "{value} is no time. Write it as 90s, 10m or 2h"
T617_EPOCH = (
    "one pass of {recipe} over the texts takes about {one_pass}, and {budget} are left. Give more time, or leave --recipe "
    "out and a faster recipe is chosen"
)
T618 = "[T618] The texts cannot be trained on as they are:\n{lines}"
T619 = (
    "[T619] {path}: it is unclear whether the first row is a header: {columns}. If it is, name the columns with "
    "--text-field and --label-field; if not, add one, or name them with --columns text,label (init, convert)."
)
T624 = "[T624] {path} is already there. Replace it with --force, or choose another output."
T625 = "[T625] Cannot calibrate: {problem}. Expected {want}."
T626 = (
    "[T626] The scores of '{name}' do not come from logits by softmax or sigmoid, so dividing the logits does not give the "
    "scores that were computed. Nothing was written."
)
T680 = (
    "[T680] The confidence of '{name}' cannot be fitted on {data}: {problem}. It needs at least two training documents of some "
    "label, and {least} documents with known labels that were not trained on."
)
T680_TRAIN = "{n_docs} training documents have its labels, and none of {n_labels} labels has two that differ"
T680_DEV = "{n_docs} documents have a known label"
T681 = (
    "[T681] --min-confidence {value}: expected a number from 0 to 1, or auto for the threshold that was found on dev."
)
T682 = (
    "[T682] --min-confidence needs a pipeline that knows its training texts, and no component has a confidence: {components}. "
    "Fit it: python -m spacy transfer calibrate PIPELINE dev.spacy --train train.spacy"
)
T683 = "[T683] {data} and {train} share {n} texts, such as {text!r}. A threshold that is found on training texts is too high."
T685 = (
    "[T685] No document has these labels, so each of them gets the component's own threshold, {threshold:g}: {labels}"
)
T684 = (
    "[T684] The confidence for unknown labels was dropped: it was fitted on vectors that training has changed now. Fit it "
    "again after the training, with: python -m spacy transfer calibrate PIPELINE dev.spacy --train train.spacy"
)
T686 = "[T686] {path} does not say what the labels are: {problem}."
T686_JSON = "it is not JSON ({error})"
T686_FORM = 'expected a list of names, ["refund", "delivery"], or an object of descriptions, {{"refund": ["money back"]}}; found {found}'
T686_SILENT = "the label {label} has no description, and there is no word in its name"
T686_FEW = "it names {n} label(s), and a classifier needs two or more"
T687 = (
    "[T687] {path}: the labels '{one}' and '{other}' clash: both are named or described in the same words, so texts cannot tell "
    "them apart. Give each a description of its own."
)
T688 = "[T688] There are {n} different texts. A classifier without labels needs at least {least} to compare."
T689 = "[T689] {option} does not go with --labels: nothing is trained. It belongs to an init with labeled texts."
T691 = (
    "[T691] --encoder does nothing with --pipeline, whose own encoder turns texts into vectors. Leave one of them out."
)
T690 = (
    "[T690] --annotate says how many texts without labels are to be annotated first, so it needs --labels. Give both, or "
    "leave it out."
)
T620 = (
    "[T620] The encoder '{name}' is not on this machine, and this command downloads nothing. Fetch it first: python -m spacy "
    "transfer fetch {name} FOLDER. Then give --encoder FOLDER."
)

T640 = (
    "[T640] No text in {data} has a label of this pipeline: it has {found}, and the pipeline knows {labels}. Give data "
    "that was annotated with the labels of the pipeline."
)
T640_NONE = "no labels at all"
T641 = "[T641] Cannot write errors to {path}: expected a name that ends in one of {suffixes}."
T642 = "[T642] The pipeline has no active spacy-transfer classifier '{component}'. Its classifiers are: {components}."
T643 = (
    "[T643] Nothing to report on in {path}: it has neither a pipeline nor the log of a run. Give the output folder of "
    "'spacy transfer train', or the folder of a pipeline."
)
T644 = (
    "[T644] {path} has no pipeline that could be tested: the run has not saved one. Resume the run, or leave out --data "
    "for a report on the training alone."
)
T645 = "[T645] Pipelines are compared on test data: add --data FILE."
T646 = "[T646] Cannot write a report to {path}: expected a name that ends in .html."
T650 = (
    "[T650] Nothing can be said about {n_texts} labeled texts with {n_labels} labels: at least {least} texts with two "
    "labels are needed."
)
T651 = (
    "[T651] Cannot write annotation tasks to {path}: expected a name that ends in .jsonl (Prodigy) or .json (Label "
    "Studio)."
)

# ---- suggest, curve ----------------------------------------------------------------------------------------------

T760 = (
    "[T760] The classifier '{name}' cannot be unsure: it knows one label ({labels}). Suggestions need a pipeline with two "
    "labels or more."
)
T761 = (
    "[T761] No text is left to suggest: {n_texts:,} were read, and {n_annotated:,} of them are annotated already. Give "
    "other texts."
)
T762 = (
    "[T762] Too few texts for a learning curve: {n_texts} labeled texts with {n_labels} labels. At least {least} texts with "
    "two labels are needed."
)
T763 = (
    "[T763] No text in {path} has a label of the training texts. Give dev data that was annotated with the same labels."
)


# ---- Hugging Face ------------------------------------------------------------------------------------------------

T560 = "[T560] '{name}' cannot be exported to Hugging Face: {problem}."
T560_SHARED = "its encoder belongs to the component '{upstream}'. Give it one of its own first: spacy transfer detach PIPELINE OUTPUT"
T560_SCRATCH = "its encoder was made from scratch, and transformers has no class for it"
T560_STATIC = "its encoder is static, and transformers has no class for it"
T560_HALF = "its encoder is half of the encoder-decoder '{family}', and transformers would want both halves"
T560_BOTH_WAYS = (
    "its encoder reads in both directions, and the class of transformers for '{family}' from left to right only"
)
T560_HEAD = "{head} has no counterpart there. Use spacy-transfer.Head.v1"
T560_FEATURES = "its head also reads features (model.features), which a model of transformers does not have"
T560_SCORES = "the scores of its loss {loss} are neither a softmax nor a sigmoid of the logits"
T560_POOLING = "the pooling {pooling} is not from this package"
T561_WINDOWS = (
    "Texts longer than {length} pieces are cut off there, while the pipeline reads all of a text, window by window."
)
T561_HEAD_TAIL = (
    "Texts longer than {length} pieces are cut off there, while the pipeline reads their beginning and their end."
)
T561_SOURCES = "It reads one text, while the pipeline reads {sources} of a document."
T561_TEXT = "It reads the text as it is, while the pipeline cleans it first (model.text.normalization)."
T562 = "[T562] '{name}' cannot be imported: {problem}."
T562_PIPELINE = "it is a spaCy pipeline. Load it with spacy.load"
T562_ARCHITECTURE = (
    "config.json names {architectures}, which is not a sequence classifier, and there is no {file} next to it"
)
T562_REGRESSION = "it predicts a number, not a label (problem_type: regression)"
T562_ONE_LOGIT = (
    "it has one logit and its config.json does not say what it means. If it is yes or no for one label, add --problem "
    "multi-label; if it chooses between two labels, add --problem single-label --labels NO,YES"
)
T562_ONE_NAME = "its one logit chooses between two labels. Name both, the one for a low logit first: --labels NO,YES"
T562_LABELS = "it has {n_labels} labels, but {n_names} names: {names}. Name each label: --labels A,B,C"
T562_TWICE = "two of its labels are called '{label}'. Name each label: --labels A,B,C"
T562_PROBLEM = "its problem_type is {problem}. Say what it is: --problem single-label or --problem multi-label"
T562_LAST = (
    "its tokenizer ends each text with piece {piece}, which is also its padding, so transformers reads the piece before it. "
    "Give the padding a piece of its own (pad_token_id in config.json)"
)
T562_WIDTH = "its head reads vectors of width {found}, but its pooling gives {width}"
T563 = (
    "[T563] '{name}' has its head in {file}, which is a pickle and never loaded. If you trust it, write the weights to a "
    "file that holds numbers only, in an environment that has scikit-learn, then import again:\n"
    "import json, joblib, numpy as np; from safetensors.numpy import save_file\n"
    "head = joblib.load('{path}'); parts = getattr(head, 'estimators_', [head]); weight, bias = (np.concatenate([getattr("
    "part, key).astype('float32') for part in parts]).copy('C') for key in ('coef_', 'intercept_'))\n"
    "save_file({{'weight': weight, 'bias': bias}}, '{target}', {{'classes': json.dumps([str(c) for c in head.classes_]), "
    "'problem': 'single-label' if parts == [head] else 'multi-label'}})"
)
T564 = (
    "[T564] '{source}' has only pickled weights, which are never loaded. If you trust it, convert it, head included, then "
    "import the folder 'converted':\n"
    'python -c "from transformers import AutoModelForSequenceClassification as Model, AutoTokenizer; '
    "Model.from_pretrained('{source}').save_pretrained('converted', safe_serialization=True); "
    "AutoTokenizer.from_pretrained('{source}').save_pretrained('converted')\""
)
T566 = "[T566] The head of '{name}' cannot be kept: {problem}."
T566_FAMILY = "heads of the family '{family}' have no counterpart here. Families that have one: {known}"
T566_ACTIVATION = "its activation is {activation}, not one of relu, gelu and tanh"
T566_POOLING = "its pooling is {pooling}, not one of cls and mean"
T566_EPS = "its norm has an epsilon of {eps}, not 1e-05"
T566_LACKS = "the weight '{weight}' is missing"
T567 = "[T567] {file} does not hold the head of a classifier: {problem}."
T567_ACTIVATION = "its activation is {activation!r}, not one of relu, gelu and tanh"
T567_LACKS = "{names} missing"
T567_SHAPE = "{name} has the shapes {found}, but needs {wanted}"
T567_NOTE = "its note '{note}' is {value}, expected {want}"
T569 = (
    "[T569] '{component}' was saved without its encoder (tuning.adapter.save = \"adapter\"), so a package of it needs "
    "'{name}' where it is installed. For one that needs nothing: spacy transfer merge PIPELINE OUTPUT."
)
T569_LICENSE = (
    "[T569] The encoder of '{component}', '{name}', came without the text or the name of a license. Find out under which "
    "license it may be passed on."
)
T568 = (
    "[T568] '{pipeline}' is an installed package, which is never changed. Write a copy that has the model card: --output "
    "FOLDER"
)

T600 = "[T600] {problem}"
T600_OPTION = (
    "{option} says which workers of a Ray cluster classify: give it together with --engine ray, or leave it out."
)
T600_CONNECTED = (
    "This process is already connected to a Ray cluster, so it cannot connect to {address}. Leave the address out, or "
    "call ray.shutdown() first."
)
T601 = (
    "[T601] No Ray cluster answers at {address}: {reason}. Check that `ray status` works on its head node, and that both "
    "sides have the same version of Ray. Without --address the run uses the cores of this machine."
)
T602 = (
    "[T602] A Ray worker on {host} cannot load the pipeline: {reason}. Each machine of the cluster needs the same packages "
    "as this one, with spacy-transfer {version}; give registered functions with --code."
)
T602_VERSION = "it has spacy-transfer {version}"
T603 = (
    "[T603] No machine of the Ray cluster has room for a worker, which needs {needs} {kind}: there are {n_nodes} machines, "
    "and the largest has {most}. A worker takes as many cores as this process has threads (OMP_NUM_THREADS), or one GPU "
    "with --gpu-id 0."
)
T604 = (
    "[T604] {n} Ray workers in turn were lost over the same {n_rows:,} rows, the last of them in line {line}: {reason}. "
    "The blocks before them are kept. Give the workers more memory, or make the blocks smaller with --look-ahead, which "
    "starts from the beginning."
)
T605 = (
    "[T605] A .spacy file can hold {n_bytes:,} bytes of tokens, and these documents have more. Classify them in parts, or "
    "write .parquet or .jsonl."
)
T700 = (
    "[T700] StaticEncoder: the encoder '{name}' is static already. To go on with its vectors, use "
    "spacy-transfer.PretrainedEncoder.v1 with this name."
)
T701 = (
    "[T701] The teacher '{name}' gives no scores: nothing in it fills doc.cats. Its components: {components}. Choose a "
    "pipeline with a text classifier."
)
T702 = "[T702] The teacher '{name}' gave an answer that cannot be used: {problem}."
T702_COUNT = "{found} for {n} texts"
T702_KIND = "{value} for {text!r}, where a dict of scores by label is expected"
T702_LABEL = "a label that is not a str, {label}, for {text!r}"
T702_SCORE = "the score {value} of the label '{label}' for {text!r}, where a number from 0 to 1 is expected"
T702_VECTOR = "{value} for {text!r}, where a vector of finite numbers is expected"
T702_WIDTH = "a vector of {width} numbers for {text!r}, where others have {first}"
T703 = (
    "[T703] The labels of the teacher {name} and of {whose} differ. Only the teacher has: {only}. It lacks: {lacking}. Say "
    'which is which with --label-map FILE, a JSON object like {{"teacher\'s label": "your label", "not needed": '
    "null}} (labels= in Python)."
)
T704 = (
    "[T704] The student's labels are exclusive, but the teacher's scores do not sum to 1 for {n} text(s); they sum to "
    "{total:.3g} for {text!r}. Use a student for any number of labels (the factory transfer_textcat_multilabel), or a "
    "teacher whose labels are exclusive."
)
T705 = (
    "[T705] {path}: cannot tell which component is to learn: '{component}'. Expected one with the factory "
    "transfer_textcat, transfer_textcat_multilabel, textcat or textcat_multilabel, and found: {found}. Name it with "
    "--component."
)
T706 = (
    "[T706] The student '{name}' is a component of spaCy, whose loss has no temperature: --temperature {temperature} cannot "
    "be used. Leave it out, or use a spacy-transfer component."
)
T707 = (
    "[T707] Nothing to distill from: {n_raw} raw text(s) and {n_labeled} labeled ones, after empty and repeated ones are "
    "left out and some are kept apart to choose the best step by. Give more texts, or labeled dev data with --dev."
)
T708 = "[T708] {n:,} of {total:,} texts are left out: the teacher gives them no label."
T709 = "[T709] {n:,} raw texts are in the dev data too and are left out."
T710 = "[T710] {path}: expected an object of the teacher's labels, each with a label or null, and found {value!r}."
T711 = (
    "[T711] {n:,} of {total:,} raw texts are among the texts to test on, such as {text}. An encoder that has read them makes "
    "test scores look too good. Leave them out."
)
T712 = (
    "[T712] '{name}' is a sentence encoder: masked-LM training harms its vectors of sentences. Choose tsdae, or "
    "fine-tune the whole encoder afterwards."
)
T713 = (
    "[T713] '{name}' is not a sentence encoder: tsdae trains its mean vector, and gives less than masked_lm if the whole "
    "encoder is fine-tuned afterwards."
)
T714 = (
    "[T714] The teacher gives none of the {n:,} texts a label, so there is nothing to learn. Ask it for a few of them, to "
    "see what it answers."
)
T716 = (
    "[T716] The teacher gives no label to any of the {n:,} text(s) that are kept apart to choose the best step by. Give "
    "labeled dev data with --dev, or more texts."
)
T715 = "[T715] Cannot match states: {problem}."
T715_TEACHER = (
    "the teacher '{name}' has no vectors to learn. Only a pipeline with a spacy-transfer classifier has; for another teacher "
    "leave out --match-epochs"
)
T715_SEVERAL = "there are {n} teachers, and the vectors of two mean different things. Give one teacher"
T715_SPACY = "the student '{name}' is a component of spaCy. Choose a student with a spacy-transfer classifier"
T715_SHARED = (
    "the encoder of the student '{name}' belongs to another component. Choose a student with an encoder of its own"
)
T715_FROZEN = (
    "the encoder of the student '{name}' has {n_layers} layers, all of them frozen, and learns nothing. Set "
    "model.tuning.frozen_depth to a lower depth; -1 freezes nothing"
)

T720 = "[T720] {path} holds no texts to learn from. Give texts with labels, or leave the file out."
T721 = (
    "[T721] {path}: {n:,} of {n_texts:,} texts do not have exactly one label, but '{name}' gives exactly one to each text. "
    "One of them has {labels}: {text}. Leave such texts out, or train a pipeline for any number of labels "
    "(transfer_textcat_multilabel)."
)
T722 = (
    "[T722] {path} names one label per text, but '{name}' gives any number: whether its other labels hold is not known. "
    'Write a list of all labels that hold ("labels"), or a value for each label that is known ("cats").'
)
T723 = (
    "[T723] {path} has labels that are not known here: {labels}.{hint} Old texts have labels of the pipeline; new labels "
    "come with the new texts."
)
T724 = (
    "[T724] {path}: new labels look like labels of the pipeline: {pairs}. Write them in the same way, or let "
    "--merge-labels do it."
)
T725 = (
    "[T725] '{name}' reads the encoder of another component, which an update would change for all its readers. Give it an "
    "encoder of its own first: spacy transfer detach."
)
T726 = (
    "[T726] The updated pipeline is not saved: on {n_texts:,} old texts its {measure} fell from {before:.1%} to {after:.1%}, "
    "by more than the {allowed:.1%} that --max-forgetting allows. The run is kept in {work}. Give old texts with --replay "
    "or texts without labels with --texts, or allow more."
)
T727 = (
    "[T727] {n:,} texts without labels are also in {path}, to measure on: {text}. What is learned from is no test; take them "
    "out of one of the two."
)
T728 = (
    "[T728] {folder} holds an update already. Continue it with --resume, choose another --work, or discard it with "
    "--force."
)
T729 = "[T729] {folder} holds no update to resume: {reason}. Leave --resume out to start one."
T732 = (
    "[T732] Every new text has {labels}, so what the label is not cannot be learned. Add texts without it, or give old texts "
    "with --replay."
)
T733 = "[T733] --max-forgetting needs old texts to measure on. Give a test file with --old-test, or old texts with --replay."
T736 = (
    "[T736] There are neither old texts (--replay) nor texts without labels (--texts), so nothing but the rows of new labels "
    "is fitted: {options} {verb} no effect."
)
T734 = (
    "[T734] [{section}] does not read .spacy files, so texts cannot join in. Convert the data (spacy transfer convert), and "
    "read them with {readers}."
)
T735 = (
    "[T735] {folder} holds rounds of self-training already. Continue them with --resume, choose another --output, or discard "
    "them with --force."
)
T730 = (
    "[T730] '{name}': there are no earlier scores to rehearse, so nothing is learned. Call nlp.resume_training() first: it "
    "keeps a copy of the model as it is then."
)
T731 = (
    "[T731] '{name}' reads the encoder of another component, which rehearsing cannot hold back, so nothing is learned. Give "
    "it an encoder of its own (spacy transfer detach), or mix old texts into the training data."
)
# ---- looking inside: explanations, robustness --------------------------------------------------------------------

T740 = "[T740] The pipeline gives no scores to explain: no active component writes doc.cats. Its components are: {components}."
T741 = (
    "[T741] '{name}' cannot be explained by gradients: {reason}. Use occlusion, which only needs scores: --method "
    'occlusion, or method="occlusion" in Python.'
)
T741_EXPORTED = "it was exported to {runtime}, which has none"
T741_SHARED = "its encoder belongs to another component"
T741_OTHER = "it is not a spacy-transfer classifier"
T742 = (
    "[T742] The encoder '{family}' cannot be explained by gradients: it does not look up its pieces in the table that "
    'get_input_embeddings() gives. Use occlusion: --method occlusion, or method="occlusion" in Python.'
)
T743 = (
    "[T743] The label has no logit to explain yet: it was added after training, or it is the only trained label. Train the "
    "pipeline on texts with it first."
)
T744 = "[T744] Text {number} has no words to explain: {text!r}. Give a text with at least one word."
T745 = "[T745] '{name}' has no label '{label}'. Its labels are: {labels}."
T746 = "[T746] Cannot write an explanation to {path}: expected a name that ends in one of {suffixes}."
T747 = (
    "[T747] The explanation of {label!r} is not exact: after {n_steps} gradients the words sum to something {gap:.1%} off "
    "the difference of the logits. Their order can still be trusted for large values; small ones may be noise. Text: "
    "{text!r}"
)
T748 = "[T748] Which component should be looked at? {given}The components with scores are: {components}."
T748_NO_SUCH = "'{name}' is not among them. "
T749 = "[T749] Cannot look for similar texts: {problem}."
T749_NO_VECTORS = "'{name}' is not a spacy-transfer classifier, so it has no document vectors"
T749_NO_TEXTS = "{path} has no texts"
T750 = "[T750] '{name}' does not read the text of a document, which is what noise would change. It reads: {sources}."
T751 = "[T751] No config can be written that trains '{name}' on noisy texts: {problem}."
T751_EXPORTED = "it was exported to {runtime}. Measure the pipeline that it was exported from"
T751_SHARED = "its encoder belongs to another component, which reads the texts. Give it one of its own first: spacy transfer detach PIPELINE OUTPUT"

T840 = (
    "[T840] '{name}' cannot be the encoder of features of the kind {kind}: its model type is '{family}'. Choose one of: "
    "{families}."
)
T841 = (
    "[T841] features: {name} in doc._.{attribute} cannot be read as {what}: {reason}. Correct it, or let what cannot be "
    'read count as missing: features.unreadable = "skip". Text: {text!r}'
)
T841_PIXEL_TYPE = "its pixels are {dtype}, expected 8 or 16 bits, bool, or floats from 0 to 1"
T841_SAMPLE_TYPE = "its samples are {dtype}, expected floats from -1 to 1, or signed integers"
T841_SAMPLES = "it has {n_channels} channels and {rate:,} samples a second, which is not read"
T841_EMPTY = "it has no samples"
T841_FINITE = "it holds NaN or infinity"
T841_SHAPE = "it has the shape {shape}, expected {want}"
T841_PIXELS = "it has {n_pixels:,} pixels, and at most {most:,} are read"
T841_LONG = "it is {ratio:,.0f} times as long as it is wide"
T842 = (
    "[T842] features: doc._.{attribute} is missing or empty in {where}. Set it to a path, bytes or an array. To train on "
    '.spacy files that hold it: @readers = "spacy-transfer.Corpus.v1" for the corpora. If only some documents lack it: '
    'features.missing = "learned".'
)
T842_ALL = "all training documents"
T842_ONE = "this document: {text!r}"
T843 = "[T843] features: {n} of {n_given} {whats} in doc._.{attribute} cannot be read and count as missing: {names}"
T844 = "[T844] features: '{name}' has no pooling \"{pooling}\": the family '{family}' has {have}, and \"auto\"."
T845 = (
    "[T845] The weights of '{name}' lack {weight}, the statistics of a batch normalization, without which its vectors mean "
    "nothing. Get the folder again, or choose another encoder."
)
T846 = "[T846] '{name}' does not encode what its preprocessor_config.json prepares: {error}. Use an intact copy of the folder."
T847 = (
    "[T847] {file}: {key} = {value} is a preparation that is not known here. Known are those of ViT, CLIP, DINOv2 (Bit) and "
    "ResNet (ConvNeXT) for pictures, those of Wav2Vec2 and Whisper for sounds."
)
T848 = (
    "[T848] features: doc._.{attribute} holds a value of the type {type}. Expected a path (str), bytes, {more}, or None. "
    "Text: {text!r}"
)
T848_IMAGE = "an array of pixels (height, width, channels)"
T849 = (
    "[T849] features: {name} has {rate:,} samples a second, and its encoder takes {want:,}. Such sounds are resampled (shown "
    "once)."
)
T850 = (
    "[T850] features: {name} is longer than {seconds:g} s, and only so much is read of a sound (shown once). To read more, if "
    "the encoder takes it: features.max_seconds."
)
T848_AUDIO = (
    "an array of samples (n_samples,) or (n_samples, n_channels), or a list of such an array and its sampling rate"
)


def require(package: str, extra: str) -> ModuleType:
    """Import an optional package where it is used.

    package (str): Import name.
    extra (str): The extra of spacy-transfer that brings it.
    RETURNS (ModuleType): The imported module.
    RAISES (ImportError): T081 if it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(T081.format(package=package, extra=extra)) from error
