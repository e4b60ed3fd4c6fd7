"""Written for this family by hand: definitions that WordNet words oddly, opposites, small talk, and the words that
generated recall tasks are made of. Public domain (CC0)."""

# word: (part of speech, full sentence)
DEFINITIONS = {
    "dog": "A dog is a friendly animal with four legs that barks and is often kept as a pet.",
    "cat": "A cat is a small furry animal that is often kept as a pet and catches mice.",
    "horse": "A horse is a large animal with four legs that people ride.",
    "cow": "A cow is a large farm animal that gives milk.",
    "mouse": "A mouse is a small rodent with a long tail. It is also a device for moving the pointer of a computer.",
    "water": "Water is a clear liquid that falls as rain, fills rivers and seas, and that we drink.",
    "gold": "Gold is a soft yellow metal that is very valuable.",
    "silver": "Silver is a soft white precious metal.",
    "iron": "Iron is a heavy magnetic metal that is used to make steel.",
    "hot": "Hot means having a high temperature.",
    "cold": "Cold means having a low temperature.",
    "happy": "Happy means feeling or showing joy and pleasure.",
    "sad": "Sad means feeling or showing sorrow; not happy.",
    "love": "Love is a strong feeling of affection for someone or something.",
    "hate": "Hate is a strong feeling of dislike.",
    "friend": "A friend is a person you know well and like and trust.",
    "family": "A family is a group of people who are related, such as parents and their children.",
    "mother": "A mother is a woman who has a child.",
    "father": "A father is a man who has a child.",
    "child": "A child is a young person.",
    "man": "A man is an adult male person.",
    "woman": "A woman is an adult female person.",
    "sun": "The sun is the star that gives light and warmth to the earth.",
    "moon": "The moon is the round body that moves around the earth and shines at night.",
    "star": "A star is a very large ball of hot gas that shines in the night sky.",
    "earth": "The earth is the planet we live on.",
    "planet": "A planet is a large round body that moves around a star.",
    "computer": "A computer is a machine that stores information and calculates automatically.",
    "music": "Music is sound arranged in a way that is pleasant to hear.",
    "book": "A book is a set of printed pages bound together, for reading.",
    "house": "A house is a building that people live in.",
    "home": "Home is the place where you live.",
    "school": "A school is a place where children learn.",
    "teacher": "A teacher is a person whose work is to help others learn.",
    "doctor": "A doctor is a person whose work is to make sick people well.",
    "car": "A car is a vehicle with four wheels and an engine.",
    "bicycle": "A bicycle is a vehicle with two wheels that is moved by pedals.",
    "train": "A train is a line of railway cars pulled by an engine.",
    "ship": "A ship is a large boat that travels on the sea.",
    "airplane": "An airplane is a vehicle with wings and engines that flies.",
    "time": "Time is what clocks measure; it passes from the past to the future.",
    "life": "Life is the time between birth and death, and what living things have.",
    "death": "Death is the end of life.",
    "day": "A day is a time of 24 hours, or the time when it is light.",
    "night": "Night is the time after sunset when it is dark.",
    "year": "A year is the time it takes the earth to move around the sun, 365 days.",
    "week": "A week is a time of seven days.",
    "rain": "Rain is water that falls from clouds in drops.",
    "snow": "Snow is frozen water that falls from the sky in white flakes.",
    "ice": "Ice is water that is frozen and hard.",
    "fire": "Fire is the light, heat and flames of something that burns.",
    "tree": "A tree is a tall plant with a trunk, branches and leaves.",
    "flower": "A flower is the colored part of a plant that makes seeds.",
    "rose": "A rose is a flower with a sweet smell that grows on a bush with thorns.",
    "apple": "An apple is a round fruit with red, yellow or green skin.",
    "banana": "A banana is a long curved fruit with a yellow skin.",
    "bread": "Bread is a food made from flour and water and baked in an oven.",
    "milk": "Milk is a white liquid that comes from cows and that we drink.",
    "cheese": "Cheese is a solid food made from milk.",
    "food": "Food is what people and animals eat.",
    "egg": "An egg is a round thing laid by a bird, from which a young bird may come.",
    "king": "A king is a man who rules a country.",
    "queen": "A queen is a woman who rules a country, or the wife of a king.",
    "money": "Money is the coins and notes that people use to buy things.",
    "work": "Work is something done with effort to make or achieve something.",
    "word": "A word is a unit of language that has a meaning.",
    "language": "Language is the system of words that people use to speak and write.",
    "red": "Red is the color of blood.",
    "blue": "Blue is the color of a clear sky.",
    "green": "Green is the color of grass.",
    "yellow": "Yellow is the color of lemons.",
    "white": "White is the color of snow.",
    "black": "Black is the darkest color, the color of coal.",
    "big": "Big means large in size.",
    "small": "Small means little in size.",
    "good": "Good means having the right qualities; not bad.",
    "bad": "Bad means not good.",
    "beautiful": "Beautiful means very pleasing to look at or to hear.",
    "eat": "To eat means to put food in the mouth, chew it and swallow it.",
    "drink": "To drink means to swallow a liquid.",
    "sleep": "To sleep means to rest with the eyes closed and the mind not awake.",
    "run": "To run means to move fast on foot.",
    "walk": "To walk means to move on foot, one step after another.",
    "read": "To read means to look at written words and understand them.",
    "write": "To write means to put words on paper.",
    "speak": "To speak means to say words.",
    "think": "To think means to use the mind.",
    "piano": "A piano is a large musical instrument with black and white keys.",
    "guitar": "A guitar is a musical instrument with six strings that are plucked.",
    "violin": "A violin is a musical instrument with four strings that is held under the chin and played with a bow.",
    "cello": "A cello is a large stringed instrument that is held upright between the knees and played with a bow.",
    "drum": "A drum is a musical instrument that is struck with sticks or hands.",
    "attention": "Attention is the act of keeping the mind on something. In a language model, it lets each word look at earlier words.",
    "memory": "Memory is the power to keep things in the mind and recall them.",
    "model": "A model is a smaller copy or a simplified description of something.",
}

OPPOSITES = """hot cold;big small;large small;good bad;happy sad;fast slow;high low;tall short;long short;old young;new old;
light dark;light heavy;rich poor;strong weak;hard soft;easy difficult;clean dirty;wet dry;full empty;open closed;early late;
near far;left right;up down;in out;on off;true false;right wrong;black white;day night;love hate;life death;war peace;
friend enemy;begin end;start stop;first last;give take;buy sell;push pull;win lose;laugh cry;come go;arrive leave;
remember forget;ask answer;always never;before after;above below;inside outside;north south;east west;man woman;boy girl;
king queen;mother father;brother sister;summer winter;morning evening;sweet sour;loud quiet;brave cowardly;wide narrow;
thick thin;deep shallow;sharp dull;smooth rough;safe dangerous;cheap expensive;beautiful ugly;kind cruel;polite rude;
alive dead;asleep awake;busy idle;calm nervous;simple complex;ancient modern;public private;success failure;increase decrease;
accept refuse;add subtract;multiply divide;build destroy;find lose;float sink;freeze melt;heaven hell;hero coward;
honest dishonest;hope despair;host guest;import export;include exclude;victory defeat;maximum minimum;more less;
many few;noisy silent;optimist pessimist;positive negative;possible impossible;present absent;proud humble;question answer;
raise lower;rise fall;save spend;same different;smart stupid;straight crooked;teach learn;top bottom;truth lie;
useful useless;visible invisible;warm cool;wise foolish;yes no""".replace("\n", "")

IRREGULAR_PAST = """go went;come came;see saw;eat ate;drink drank;run ran;give gave;take took;make made;do did;have had;say said;
think thought;know knew;find found;get got;tell told;become became;leave left;feel felt;bring brought;begin began;keep kept;
hold held;write wrote;stand stood;hear heard;let let;mean meant;meet met;pay paid;sit sat;speak spoke;lead led;grow grew;
lose lost;fall fell;send sent;build built;understand understood;draw drew;break broke;spend spent;cut cut;rise rose;drive drove;
buy bought;wear wore;choose chose;sing sang;swim swam;fly flew;sleep slept;teach taught;catch caught;forget forgot;win won;
throw threw;steal stole;ride rode;fight fought;sell sold;shake shook;bite bit;hide hid;freeze froze;read read""".replace("\n", "")

CAPITALS = {"France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon", "Japan": "Tokyo",
            "China": "Beijing", "England": "London", "the United Kingdom": "London", "Russia": "Moscow", "India": "New Delhi",
            "Canada": "Ottawa", "Brazil": "Brasilia", "Australia": "Canberra", "Egypt": "Cairo", "Greece": "Athens",
            "Turkey": "Ankara", "Ireland": "Dublin", "Belgium": "Brussels", "Austria": "Vienna", "Switzerland": "Bern",
            "Sweden": "Stockholm", "Norway": "Oslo", "Denmark": "Copenhagen", "Finland": "Helsinki", "Poland": "Warsaw",
            "Hungary": "Budapest", "Romania": "Bucharest", "Ukraine": "Kiev", "the Netherlands": "Amsterdam", "Mexico": "Mexico City",
            "Argentina": "Buenos Aires", "Chile": "Santiago", "Peru": "Lima", "Cuba": "Havana", "Colombia": "Bogota",
            "Lebanon": "Beirut", "Iran": "Tehran", "Iraq": "Baghdad", "South Korea": "Seoul", "Thailand": "Bangkok",
            "Vietnam": "Hanoi", "Indonesia": "Jakarta", "Kenya": "Nairobi", "Morocco": "Rabat", "Iceland": "Reykjavik",
            "the United States": "Washington", "New Zealand": "Wellington", "Scotland": "Edinburgh", "Wales": "Cardiff"}
DROP_CAPITALS = {"King Arthur", "Emilia", "Guinea", "Chechnya", "Netherlands", "Maldives"}

WHO = "I am Hybridscope Ratio, a very small language model."
CAN = "I can explain common words, give opposites and examples, and remember facts that you tell me."
LEARNED = "I was trained on a dictionary, some novels and many small memory games."
SMALL_TALK = [
    (["hello", "hi", "hey", "hello there", "hi there", "hey there", "greetings", "good day"],
     ["Hello! Ask me about a word, or tell me something to remember.", "Hello! How can I help you?"]),
    (["good morning"], ["Good morning! How can I help you?"]),
    (["good evening"], ["Good evening! How can I help you?"]),
    (["good afternoon"], ["Good afternoon! How can I help you?"]),
    (["good night"], ["Good night! Sleep well."]),
    (["how are you", "how are you doing", "how do you do", "how is it going", "are you ok", "are you well"],
     ["I am well, thank you. How can I help you?"]),
    (["who are you", "what are you", "what is your name", "introduce yourself", "tell me about yourself",
      "what's your name", "who am I talking to", "what model are you", "are you a language model", "what should I call you"], [WHO + " " + CAN]),
    (["what can you do", "what do you know", "how can you help me", "help", "help me", "what can I ask you", "what can I ask",
      "what are you good at", "what should I ask you", "can you help me"], [CAN]),
    (["are you a person", "are you human", "are you a human", "are you real", "are you a robot", "are you alive", "are you an AI"],
     ["No, I am not a person. I am a very small language model."]),
    (["who made you", "where do you come from", "how were you trained", "what were you trained on", "what is your training data"], [LEARNED]),
    (["are you smart", "are you intelligent", "how big are you", "how many parameters do you have", "how large are you"],
     ["I am very small. I have about five million parameters, so I know only simple things."]),
    (["thanks", "thank you", "thank you very much", "thanks a lot", "great, thanks", "thank you so much"], ["You are welcome!"]),
    (["bye", "goodbye", "see you", "see you later", "good bye", "bye bye"], ["Goodbye!"]),
    (["ok", "okay", "good", "great", "nice", "cool", "well done", "I see", "interesting", "that is good"], ["Good. What else can I do for you?"]),
    (["yes"], ["Good. What would you like to know?"]),
    (["no"], ["All right. Ask me about a word if you like."]),
    (["tell me a joke", "do you know a joke", "make me laugh", "say something funny"],
     ["Why did the book go to the doctor? It had a broken spine."]),
    (["tell me a story", "write a story", "can you tell me a story"],
     ["Once there was a small dog who lived by the sea. Every day it ran to the water and came home happy."]),
    (["write a poem", "tell me a poem", "can you write a poem"],
     ["The sun goes down, the moon is bright, the stars are shining in the night."]),
    (["what is the meaning of life"], ["I do not know that. Many people say that it is to love and to learn."]),
    (["do you speak english", "what languages do you speak", "which language do you speak"], ["I speak simple English."]),
    (["do you have feelings", "are you happy", "do you like music", "do you love me", "what do you like", "do you think"],
     ["I am a small language model, so I do not have feelings."]),
    (["I am sad", "I feel sad", "I am unhappy"], ["I am sorry to hear that. I hope you feel better soon."]),
    (["I am happy", "I feel good", "I am fine"], ["I am glad to hear that."]),
    (["I am tired"], ["Then you should rest."]),
    (["I am hungry"], ["Then you should eat something."]),
    (["what is attention in a language model", "what is full attention", "how does attention work"],
     ["Full attention lets each word look at all earlier words. It remembers well, but its memory grows with the text."]),
    (["what is linear attention", "how does linear attention work", "what is a gated delta rule", "what is the gated delta rule"],
     ["Linear attention keeps a state of fixed size and updates it with each word. It is cheap, but it may forget."]),
    (["what is a hybrid model", "what is hybrid attention", "what is a hybrid language model", "what is the hybrid ratio"],
     ["A hybrid model mixes full attention layers with linear attention layers. The ratio says how many there are of each."]),
    (["what is hybridscope"], ["Hybridscope is a program that shows how hybrid language models work."]),
    (["what is a language model", "how do you work"], ["A language model is a program that reads words and says which word may come next."]),
]
UNKNOWABLE = ["what time is it", "what is the weather today", "what is the weather like", "what day is it today", "who won the election",
              "who is the president", "what is the date today", "what is happening in the world", "who won the game yesterday",
              "what is the stock price of my company", "where am I", "what am I thinking", "what did I eat today", "how old am I",
              "write a program that sorts a list", "write python code", "translate this into french", "what is my password",
              "can you search the internet", "book a flight for me", "what is the news today", "who will win tomorrow",
              "what is the population of my city", "solve this equation", "summarize this article", "draw a picture"]
CANNOT = "I do not know that. I am a very small model."
SYSTEMS = ["You are a helpful assistant.", "You are a helpful assistant. Answer briefly.", "You are a small dictionary.",
           "You are a friendly assistant.", "You answer questions about words.", "Be brief and honest.",
           "You are Hybridscope Ratio, a very small language model."]
SEQUENCES = {
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "month": "January February March April May June July August September October November December".split(),
}

# What generated recall tasks are made of.
NAMES = """Anna Ben Clara David Emma Frank Grace Henry Ida Jack Karen Leo Maria Nora Oscar Paul Rose Sam Tom Victor Walter
Alice Bob Carl Diana Eric Fiona George Helen Ivan Julia Kate Laura Martin Nina Olga Peter Rachel Simon Tina Adam Bella
Charles Daniel Edward Felix Hannah Jane John Lucy Mark Mary Michael Robert Sarah Sophie Susan Thomas William Ruth Max""".split()
COLORS = "red blue green yellow black white brown gray orange purple pink silver golden".split()
ADJECTIVES = "old new small large little big round heavy light wooden broken long short dark bright clean empty".split()
OBJECTS = """box bag chair table door lamp book car boat house clock ring bottle cup basket desk drawer hat coat shoe knife
spoon plate mirror picture letter key ball bell bed bridge tower tent train ship truck cabinet bucket candle carpet phone radio
camera guitar piano drum flag gate wheel ladder hammer coin stone tree garden room safe folder notebook pencil umbrella""".split()
ANIMALS = "dog cat horse cow pig sheep goat bird duck rabbit mouse lion tiger bear wolf fox deer elephant monkey snake fish frog turtle owl eagle".split()
FOODS = "bread cheese rice soup apple banana orange grape lemon tomato potato carrot onion egg cake butter honey chocolate fish chicken salad pizza".split()
JOBS = "teacher doctor nurse farmer baker cook driver pilot sailor soldier lawyer judge artist singer dancer writer painter engineer gardener tailor".split()
CITIES = """Paris London Berlin Rome Madrid Lisbon Vienna Athens Dublin Oslo Moscow Tokyo Cairo Delhi Boston Chicago Dallas
Denver Toronto Sydney Lima Havana Prague Warsaw Geneva Milan Naples Venice Munich Hamburg""".split()
PLACES = "kitchen garden bedroom garage cellar attic office library hall school church market station hotel barn".split()
RULER_NOISE = ["The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."]
