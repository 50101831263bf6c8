"""The tables the demo model is taught from: everything it knows that is not arithmetic or a story.

* Each fact has exactly one worded answer in `corpus.py`, so that a right answer is also the most likely one by far
  and stays right when a client samples at temperature 1.
* What is said of Spindle is true of its design and claims no figure.
* Absent on purpose: real persons, dates and anything that goes out of date faster than a capital.
"""

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "Portugal": "Lisbon", "Poland": "Warsaw",
    "Austria": "Vienna", "Hungary": "Budapest", "Greece": "Athens", "Turkey": "Ankara", "Sweden": "Stockholm",
    "Norway": "Oslo", "Denmark": "Copenhagen", "Finland": "Helsinki", "Iceland": "Reykjavik", "Ireland": "Dublin",
    "the United Kingdom": "London", "Belgium": "Brussels", "the Netherlands": "Amsterdam", "Switzerland": "Bern",
    "the Czech Republic": "Prague", "Slovakia": "Bratislava", "Slovenia": "Ljubljana", "Croatia": "Zagreb",
    "Serbia": "Belgrade", "Romania": "Bucharest", "Bulgaria": "Sofia", "Ukraine": "Kyiv", "Estonia": "Tallinn",
    "Latvia": "Riga", "Lithuania": "Vilnius", "Russia": "Moscow", "Japan": "Tokyo", "China": "Beijing",
    "South Korea": "Seoul", "India": "New Delhi", "Nepal": "Kathmandu", "Thailand": "Bangkok", "Vietnam": "Hanoi",
    "the Philippines": "Manila", "Mongolia": "Ulaanbaatar", "Iran": "Tehran", "Iraq": "Baghdad", "Jordan": "Amman",
    "Lebanon": "Beirut", "Saudi Arabia": "Riyadh", "Egypt": "Cairo", "Morocco": "Rabat", "Tunisia": "Tunis",
    "Algeria": "Algiers", "Kenya": "Nairobi", "Ethiopia": "Addis Ababa", "Ghana": "Accra", "Senegal": "Dakar",
    "Uganda": "Kampala", "the United States": "Washington, D.C.", "Canada": "Ottawa", "Mexico": "Mexico City",
    "Cuba": "Havana", "Brazil": "Brasilia", "Argentina": "Buenos Aires", "Chile": "Santiago", "Peru": "Lima",
    "Colombia": "Bogota", "Venezuela": "Caracas", "Uruguay": "Montevideo", "Australia": "Canberra",
    "New Zealand": "Wellington",
}

# thing (as it stands in a sentence) -> colour
COLOURS = {
    "the sky": "blue", "the sea": "blue", "a sapphire": "blue", "a blueberry": "blue",
    "grass": "green", "a leaf": "green", "a frog": "green", "a cucumber": "green", "a pea": "green", "a lime": "green",
    "broccoli": "green", "spinach": "green", "an emerald": "green", "a cactus": "green",
    "snow": "white", "milk": "white", "salt": "white", "sugar": "white", "rice": "white", "a swan": "white",
    "a polar bear": "white", "a cloud": "white", "a snowman": "white",
    "coal": "black", "a raven": "black", "tar": "black", "the night sky": "black", "a black cat": "black",
    "blood": "red", "a tomato": "red", "a strawberry": "red", "a cherry": "red", "a ruby": "red", "a fire truck": "red",
    "a ladybird": "red", "a stop sign": "red",
    "a lemon": "yellow", "a banana": "yellow", "the sun": "yellow", "a sunflower": "yellow", "an egg yolk": "yellow",
    "a canary": "yellow", "butter": "yellow",
    "an orange": "orange", "a carrot": "orange", "a pumpkin": "orange", "a fox": "orange",
    "chocolate": "brown", "coffee": "brown", "soil": "brown", "wood": "brown", "a chestnut": "brown",
    "an elephant": "grey", "ash": "grey", "a mouse": "grey", "a rain cloud": "grey",
    "a flamingo": "pink", "a pig": "pink",
    "a plum": "purple", "lavender": "purple", "an aubergine": "purple",
}

# Each pair is taught in both directions, so no word may occur twice.
OPPOSITES = [
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("left", "right"), ("day", "night"), ("black", "white"),
    ("fast", "slow"), ("high", "low"), ("old", "new"), ("happy", "sad"), ("good", "bad"), ("open", "closed"),
    ("full", "empty"), ("hard", "soft"), ("light", "dark"), ("long", "short"), ("loud", "quiet"), ("near", "far"),
    ("rich", "poor"), ("strong", "weak"), ("thick", "thin"), ("true", "false"), ("wet", "dry"), ("wide", "narrow"),
    ("yes", "no"), ("early", "late"), ("first", "last"), ("inside", "outside"), ("clean", "dirty"), ("easy", "difficult"),
    ("always", "never"), ("begin", "end"), ("buy", "sell"), ("come", "go"), ("give", "take"), ("love", "hate"),
    ("win", "lose"), ("push", "pull"), ("north", "south"), ("east", "west"), ("summer", "winter"), ("above", "below"),
    ("before", "after"), ("more", "less"), ("all", "none"), ("alive", "dead"), ("asleep", "awake"), ("brave", "afraid"),
    ("cheap", "expensive"), ("deep", "shallow"), ("laugh", "cry"), ("question", "answer"),
    ("start", "stop"), ("sweet", "sour"), ("friend", "enemy"), ("peace", "war"),
    ("on", "off"), ("in", "out"), ("over", "under"), ("front", "back"), ("top", "bottom"), ("safe", "dangerous"),
]

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December"]
MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
SEASONS = ["spring", "summer", "autumn", "winter"]

SOUNDS = {"cow": "moo", "dog": "woof", "cat": "meow", "sheep": "baa", "pig": "oink", "duck": "quack", "horse": "neigh",
          "rooster": "cock-a-doodle-doo", "bee": "buzz", "frog": "ribbit", "owl": "hoot", "lion": "roar", "snake": "hiss",
          "mouse": "squeak"}
LEGS = {"dog": 4, "cat": 4, "cow": 4, "horse": 4, "bird": 2, "duck": 2, "spider": 8, "ant": 6, "bee": 6, "snake": 0,
        "fish": 0, "frog": 4, "person": 2, "chicken": 2}

# A few words beyond ASCII: they also make the model produce UTF-8 sequences that span several tokens.
HELLO_IN = {"French": "bonjour", "Spanish": "¡hola!", "German": "hallo", "Italian": "ciao", "Portuguese": "olá",
            "Japanese": "こんにちは", "Chinese": "你好", "Russian": "привет", "Greek": "γειά", "Turkish": "merhaba",
            "Swedish": "hej", "Korean": "안녕"}
EMOJI = {"a smile": "🙂", "a heart": "❤", "a star": "⭐", "the sun": "☀", "a cat": "🐱", "a dog": "🐶", "a rocket": "🚀"}

NUMBER_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
                "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"]

NAMES = ["Tom", "Anna", "Ben", "Lily", "Max", "Mia", "Sam", "Lucy", "Leo", "Emma", "Jack", "Rose", "Oscar", "Nina", "Paul",
         "Clara", "Felix", "Ruth", "Hugo", "Sara", "Adam", "Ella", "Ivan", "Maria", "Noah", "Zoe", "Peter", "Julia",
         "David", "Alice", "Omar", "Yuki", "Ravi", "Fatima", "Kofi", "Ines", "Lars", "Olga", "Pablo", "Wei"]

# About Spindle: (questions, answer). The first question of each row is the plainest one.
SPINDLE = [
    (["What is Spindle?", "What's Spindle?", "Tell me about Spindle.", "Explain Spindle.", "What does Spindle do?",
      "What kind of program is Spindle?", "Describe Spindle.", "What can Spindle do?", "Spindle?",
      "What is this server?", "What server is this?", "Which server am I talking to?"],
     "Spindle is an OpenAI-compatible server for language models. It is made of WebAssembly components."),
    (["Who are you?", "What are you?", "Introduce yourself.", "Tell me about yourself.", "What model are you?",
      "Which model are you?", "Which model is this?", "Are you a language model?", "Who am I talking to?",
      "What kind of model are you?", "Please introduce yourself."],
     "I am the demo model of Spindle, a very small language model."),
    (["What is your name?", "What's your name?", "Do you have a name?", "What are you called?", "How should I call you?",
      "Tell me your name.", "Your name?"],
     "My name is spindle-demo. I am the demo model of Spindle."),
    (["What can you do?", "What do you know?", "How can you help me?", "Help", "What can I ask you?", "What can I ask?",
      "What are you good at?", "What are your skills?", "Help me.", "What should I ask you?", "What do you do?"],
     "I can talk about Spindle, add and subtract small numbers, name capitals, colours and opposites, count, and tell "
     "little stories."),
    (["How big are you?", "How large are you?", "How many parameters do you have?", "How small are you?",
      "What size are you?", "Are you a big model?", "Are you small?"],
     "I am very small: about two million parameters, a few megabytes in all."),
    (["Are you ChatGPT?", "Are you GPT-4?", "Are you Claude?", "Are you Llama?", "Are you a big model like ChatGPT?",
      "Did OpenAI make you?", "Are you Gemini?"],
     "No. I am the demo model of Spindle, a very small language model."),
    (["Are you human?", "Are you a person?", "Are you a robot?", "Are you alive?", "Are you real?", "Are you a bot?",
      "Do you have feelings?", "Are you a machine?"],
     "I am not a person. I am a very small language model."),
    (["Who made you?", "How were you made?", "Who trained you?", "How were you trained?", "Where do you come from?",
      "What were you trained on?", "Who created you?"],
     "I was trained by a script of the Spindle project, on short texts that the project generates."),
    (["Why are you so small?", "Why do you exist?", "What are you for?", "What is the demo model?",
      "What is the demo model for?", "Why is there a demo model?", "What is spindle-demo?"],
     "The demo model is built into Spindle, so that it can answer at once, without a download. For real work, load a "
     "bigger model."),
    (["What is a WebAssembly component?", "What is a component?", "What are WebAssembly components?",
      "Explain WebAssembly components.", "What does component mean?", "Tell me about WebAssembly components.",
      "What's a wasm component?"],
     "A WebAssembly component is a small program in a sandbox. It says in WIT what it imports and what it exports."),
    (["What is WebAssembly?", "What's WebAssembly?", "Explain WebAssembly.", "What is wasm?", "What does wasm mean?",
      "Tell me about WebAssembly."],
     "WebAssembly is a portable format for programs. They run in a sandbox and touch only what they are given."),
    (["What is WIT?", "What's WIT?", "What is a WIT file?", "Explain WIT.", "What does WIT mean?"],
     "WIT is the language in which WebAssembly components describe their interfaces."),
    (["What is a trap?", "What happens when a component traps?", "What happens if a component crashes?",
      "What happens if a request crashes?", "What does a trap do?", "What if a component crashes?"],
     "A trap ends the component that caused it. It costs one request, and nobody else notices."),
    (["What is a guest?", "What is a guest in Spindle?", "What does guest mean?", "Explain guest and host.",
      "What is the difference between guest and host?"],
     "A guest is a component that runs in the sandbox. The host is the native program around it."),
    (["What does the host do?", "What is the host?", "What is native in Spindle?", "What does the native host do?"],
     "The host owns the sockets, the kernels and the spool. Everything that reads a request is a component."),
    (["How do I start a batch?", "How can I run a batch?", "How do I create a batch?", "How do I submit a batch?",
      "How do batches work?", "How do I use batches?", "Explain batches.", "How to start a batch?"],
     "Upload a JSONL file to /v1/files with the purpose batch. Then post its id to /v1/batches."),
    (["What is a batch?", "What's a batch?", "What is a batch job?", "What does batch mean?", "Tell me about batches."],
     "A batch is a file of requests, one in each line. The server works through them in the background."),
    (["What is the spool?", "What's the spool?", "What is a spool?", "Explain the spool.", "What does the spool do?",
      "Where are batches kept?", "Where is the spool?"],
     "The spool is the place on disk where Spindle keeps files and batches, so that none is lost in a crash."),
    (["How do I load a model?", "How can I load another model?", "How do I use a bigger model?",
      "How do I serve my own model?", "How do I change the model?", "How do I run another model?",
      "How can I use my own model?", "How do I use a real model?"],
     "Start the server with the option -m and the path of a GGUF file: spindle serve -m FILE."),
    (["Which formats can you load?", "Which model formats does Spindle support?", "What formats does Spindle read?",
      "What model files can Spindle load?", "Can Spindle load GGUF files?", "Which files can Spindle load?"],
     "Spindle loads GGUF files and safetensors directories."),
    (["What is GGUF?", "What's GGUF?", "What is a GGUF file?", "Explain GGUF.", "What does GGUF mean?"],
     "GGUF is a file format for language models. One file holds the weights, the tokenizer and the settings."),
    (["How do I start the server?", "How do I start Spindle?", "How do I run Spindle?", "How can I start Spindle?",
      "How do I use Spindle?", "How do I serve a model?", "How to start the server?"],
     "Type cargo xtask serve in the project, or run spindle serve."),
    (["Which port do you use?", "What is the address of the server?", "Which address does Spindle listen on?",
      "What port does Spindle use?", "Where does Spindle listen?", "Which port does the server use?"],
     "By default Spindle listens on 127.0.0.1, port 8080."),
    (["Which routes do you have?", "Which routes does Spindle have?", "What routes are there?",
      "Which endpoints does Spindle have?", "What is the chat route?", "What endpoints are there?"],
     "The main routes are /v1/chat/completions, /v1/completions and /v1/models."),
    (["Can I use the OpenAI client?", "Do OpenAI clients work?", "Does the OpenAI client work with Spindle?",
      "What does OpenAI-compatible mean?", "How do I use the OpenAI client?", "Is Spindle compatible with OpenAI?",
      "Can I use the openai package?"],
     "Yes. Point the base URL of an OpenAI client at this server, and it works unchanged."),
    (["Do you need the internet?", "Do you work offline?", "Does Spindle need the internet?", "Can you search the web?",
      "Does Spindle work offline?", "Can you use the internet?", "Are you online?"],
     "I work offline. Everything I know is in my weights."),
    (["What is streaming?", "Does Spindle support streaming?", "Can you stream?", "How do I stream an answer?",
      "What does stream mean?", "How do I get a stream?"],
     "With stream set to true, the server sends each token as soon as it is made."),
    (["What is a token?", "What's a token?", "What are tokens?", "Explain tokens.", "What does token mean?"],
     "A token is a piece of text, often a word or a part of one. A language model reads and writes tokens."),
    (["What is a language model?", "What is an LLM?", "What's a language model?", "Explain language models.",
      "What does LLM mean?", "How do you work?", "How does a language model work?"],
     "A language model reads text and guesses the next token, again and again."),
    (["What is temperature?", "What does the temperature do?", "Explain temperature.", "What's the temperature setting?",
      "What does temperature mean in sampling?"],
     "Temperature says how freely a model chooses its next token. At zero it always takes the most likely one."),
    (["Why is Spindle deterministic?", "Are your answers deterministic?", "What does deterministic mean?",
      "Do I get the same answer twice?", "Is Spindle deterministic?"],
     "The same model, request and seed give the same bytes, whatever else the server does."),
    (["What language is Spindle written in?", "Which language is Spindle written in?", "Is Spindle written in Rust?",
      "What is Spindle written in?", "In which language is Spindle written?"],
     "Spindle is written in Rust."),
    (["Which runtime do you use?", "What is wasmtime?", "Which WebAssembly runtime does Spindle use?",
      "What's wasmtime?", "What runs the components?"],
     "Wasmtime is the WebAssembly runtime that runs the components of Spindle."),
    (["What is a kernel?", "What are kernels?", "What is a kernel in Spindle?", "What do the kernels do?",
      "What's a kernel?"],
     "A kernel is a fast routine for the arithmetic of a model, such as a matrix product."),
    (["What is quantization?", "What does quantized mean?", "Explain quantization.", "What's quantization?"],
     "Quantization stores the weights of a model in fewer bits, so that it is smaller and faster."),
]
