"""Common words and questions, answered by hand where a dictionary's first sense is not what people mean. Public domain (CC0).

One line each. A definition's form says what the word is taken as: "To ..." a verb, "... means ..." an adjective or adverb,
everything else a noun with the article it begins with."""

DEFINITIONS = """\
act|To act means to do something.
action|An action is something that someone does.
active|Active means doing things; not idle.
account|An account is a report of what happened, or an arrangement to keep money in a bank.
activity|An activity is something that people do.
address|An address is the place where someone lives or where letters are sent.
affair|An affair is a matter that concerns someone.
age|Age is how long someone or something has lived.
alarm|An alarm is a signal that warns of danger.
all|All means every one, or the whole of something.
amount|An amount is how much there is of something.
annual|Annual means happening once a year.
answer|An answer is what you say when someone asks you something.
area|An area is a part of a place, or the size of a surface.
argument|An argument is a reason for or against something, or a quarrel.
arm|An arm is the part of the body between the shoulder and the hand.
art|Art is the making of beautiful things such as pictures, music and poems.
article|An article is a short piece of writing in a newspaper or a magazine.
atmosphere|The atmosphere is the air around the earth.
author|An author is a person who writes books.
autumn|Autumn is the season between summer and winter, when the leaves fall.
award|An award is a prize for something done well.
baby|A baby is a very young child.
ball|A ball is a round thing that is thrown, hit or kicked in games.
band|A band is a group of people who play music together.
bank|A bank is a business that keeps and lends money. It is also the land at the side of a river.
bar|A bar is a place where drinks are sold, or a long piece of something hard.
battery|A battery is a device that stores electricity.
become|To become means to begin to be something.
bill|A bill is a paper that says how much you must pay.
bit|A bit is a small piece of something. In computers it is a 0 or a 1.
block|A block is a solid piece of something hard.
board|A board is a flat piece of wood.
body|A body is the whole of a person or an animal.
boot|A boot is a strong shoe that covers the foot and part of the leg.
boy|A boy is a male child.
branch|A branch is a part of a tree that grows from the trunk.
break|To break means to come apart or to make something come apart.
bring|To bring means to take something with you to a place.
bug|A bug is a small insect, or a mistake in a computer program.
business|A business is a company that makes or sells things.
call|To call means to speak loudly to someone, or to telephone.
can|To can means to be able to do something.
capital|A capital is the city where the government of a country is.
captain|A captain is the person who leads a ship or a team.
care|To care means to feel that something is important.
catch|To catch means to take hold of something that moves.
cell|A cell is the smallest part of a living thing. It is also a small room in a prison.
chance|A chance is the possibility that something happens.
chapter|A chapter is a part of a book.
character|A character is a person in a story, or what someone is like.
charge|To charge means to ask someone to pay, or to put electricity into a battery.
chip|A chip is a small piece of something, or a small part of a computer.
choice|A choice is the act of choosing, or the thing that is chosen.
church|A church is a building where Christians pray.
circle|A circle is a perfectly round shape.
class|A class is a group of students who are taught together.
clever|Clever means quick to learn and understand.
close|To close means to shut something.
club|A club is a group of people who meet to do something together.
code|A code is a set of signs or numbers with a meaning, often secret.
college|A college is a school for students after high school.
column|A column is a tall round post, or a list of things one below another.
come|To come means to move toward someone or something.
common|Common means found often, or shared by many.
company|A company is a business that makes or sells things.
condition|A condition is the state that something is in.
content|Content is what is in something, such as a book or a box.
cook|To cook means to make food by heating it.
copy|A copy is a thing made to be just like another.
core|A core is the middle part of something, such as an apple.
corner|A corner is the place where two walls, streets or lines meet.
cost|A cost is the money that you must pay for something.
couple|A couple is two people or two things.
course|A course is a series of lessons, or the way that something goes.
court|A court is the place where a judge decides about the law.
cry|To cry means to have tears come from the eyes, often because of sorrow.
curious|Curious means wanting to know things.
current|A current is a flow of water, air or electricity.
cut|To cut means to divide something with a knife or scissors.
danger|Danger is the chance that someone may be hurt.
dark|Dark means with little or no light.
deal|A deal is an agreement, most often in business.
deep|Deep means going far down.
degree|A degree is a unit for measuring temperature or angles.
deliver|To deliver means to bring something to the person it is for.
dinner|Dinner is the main meal of the day.
disk|A disk is a flat round thing.
draw|To draw means to make a picture with a pencil or a pen.
dream|A dream is what you see and feel in your mind while you sleep.
drive|To drive means to make a car or another vehicle go.
drop|To drop means to let something fall.
dry|Dry means without water; not wet.
east|East is the direction where the sun rises.
west|West is the direction where the sun goes down.
north|North is the direction to your left when you look at the rising sun.
south|South is the direction to your right when you look at the rising sun.
element|An element is one of the simple substances that all things are made of, such as iron or oxygen.
end|An end is the last part of something.
enemy|An enemy is a person who hates you or fights against you.
enter|To enter means to go into a place.
evening|Evening is the last part of the day, before night.
event|An event is something that happens.
exchange|To exchange means to give one thing and get another for it.
excuse|An excuse is a reason that someone gives for a mistake.
execute|To execute means to carry out an order or a plan.
expression|An expression is a look on a face, or a group of words.
eye|An eye is the part of the body that sees.
face|A face is the front of the head, with the eyes, the nose and the mouth.
faith|Faith is a strong belief in something.
fall|To fall means to come down from a higher place.
fan|A fan is a device that moves air to cool you. It is also someone who loves a team or a singer.
farm|A farm is land with buildings where plants and animals are raised.
fat|Fat means having too much weight.
field|A field is an open piece of land, often with grass or crops.
figure|A figure is a number, a shape or a picture.
file|A file is a set of data kept under one name on a computer.
film|A film is a story told in moving pictures.
find|To find means to see or get something that you looked for.
finger|A finger is one of the five long parts at the end of the hand.
fix|To fix means to repair something.
flat|Flat means smooth and level, without hills.
floor|A floor is the part of a room that you walk on.
foot|A foot is the part of the body at the end of the leg, on which we stand.
force|A force is a push or a pull, or great strength.
form|A form is the shape of something, or a paper with spaces to write in.
frame|A frame is a border around a picture or a window.
front|The front is the side of something that faces forward.
fry|To fry means to cook in hot oil or fat.
full|Full means holding as much as it can.
fun|Fun is something that you enjoy.
function|A function is what something is for, or what it does.
game|A game is something that people play, with rules and often a winner.
garbage|Garbage is things that are thrown away.
garden|A garden is a piece of land where flowers or vegetables are grown.
gas|A gas is a thing like air, neither solid nor liquid.
get|To get means to receive or to fetch something.
girl|A girl is a female child.
glass|Glass is a hard clear material that windows are made of. A glass is also a cup to drink from.
grave|A grave is a hole in the ground where a dead person is buried.
great|Great means very large, important or good.
ground|The ground is the surface of the earth that we walk on.
grow|To grow means to become bigger.
guess|To guess means to give an answer without being sure.
half|A half is one of two equal parts.
hair|Hair is the thin threads that grow on the head and on the skin.
hand|A hand is the part of the body at the end of the arm, with five fingers.
hang|To hang means to fasten something from above.
hardware|Hardware is the machines and parts of a computer.
have|To have means to own or hold something.
head|A head is the part of the body above the neck, with the face and the brain.
heart|The heart is the organ in the chest that pumps blood through the body.
heaven|Heaven is the place where some people believe that good people go after death.
hell|Hell is the place where some people believe that bad people go after death.
history|History is the study of what happened in the past.
hold|To hold means to have something in the hand.
hole|A hole is an opening in something.
human|A human is a person: a man, a woman or a child.
husband|A husband is a man who is married.
wife|A wife is a woman who is married.
idea|An idea is a thought or a plan in the mind.
image|An image is a picture of something.
important|Important means that it matters very much.
information|Information is facts about something.
input|Input is what is put into a computer or another system.
interest|Interest is the wish to know more about something, or money paid for a loan.
job|A job is the work that someone does for money.
joke|A joke is something funny that is said to make people laugh.
jump|To jump means to push yourself off the ground into the air.
keep|To keep means to have something and not give it away.
keyboard|A keyboard is a set of keys for typing or for playing music.
kid|A kid is a child, or a young goat.
kind|Kind means friendly and good to others.
knock|To knock means to hit a door so that someone opens it.
know|To know means to have something in the mind and be sure of it.
knowledge|Knowledge is what someone knows.
labor|Labor is work, most often hard work.
land|Land is the part of the earth that is not covered by water.
last|Last means coming after all others.
late|Late means after the right time.
law|A law is a rule that the people of a country must obey.
lazy|Lazy means not willing to work.
lead|To lead means to go first and show the way.
leaf|A leaf is one of the flat green parts of a plant.
leg|A leg is a part of the body used for standing and walking.
let|To let means to allow something.
letter|A letter is a written message to someone. It is also a sign such as A or B.
level|A level is how high or how good something is.
lie|A lie is something that is said although it is not true.
like|To like means to find someone or something pleasant.
line|A line is a long thin mark, or people one behind another.
list|A list is a number of names or things written one after another.
live|To live means to be alive, or to have a home in a place.
loan|A loan is money that someone lends you.
local|Local means belonging to a place nearby.
long|Long means having a great length; not short.
short|Short means having a small length; not long.
look|To look means to turn the eyes toward something.
lucky|Lucky means having good things happen by chance.
machine|A machine is a thing with moving parts that does work.
magic|Magic is the power to do things that seem impossible.
make|To make means to create or build something.
map|A map is a drawing of a place that shows where things are.
march|To march means to walk with regular steps, like soldiers.
mark|A mark is a spot or a sign on something.
market|A market is a place where people buy and sell things.
mass|Mass is how much matter a thing has.
match|A match is a small stick that makes fire, or a game between two teams.
matter|Matter is what all things are made of.
meal|A meal is the food that is eaten at one time.
mean|To mean means to have as its sense.
meaning|A meaning is what a word or a sign says.
meat|Meat is the flesh of animals, eaten as food.
medicine|A medicine is something that you take to become well when you are sick.
meet|To meet means to come together with someone.
metal|A metal is a hard shiny material such as iron or gold.
mind|The mind is the part of a person that thinks and feels.
mine|A mine is a deep hole from which coal, gold or other things are dug.
minute|A minute is a time of sixty seconds.
second|A second is a very short time; a minute has sixty of them.
hour|An hour is a time of sixty minutes.
month|A month is one of the twelve parts of a year.
century|A century is a time of one hundred years.
mistake|A mistake is something that is done wrong.
monster|A monster is a large and frightening creature in stories.
morning|Morning is the first part of the day, before noon.
mouth|A mouth is the opening in the face with which we eat and speak.
move|To move means to go or to put something from one place to another.
movie|A movie is a story told in moving pictures.
name|A name is what someone or something is called.
nature|Nature is everything that is not made by people, such as plants, animals and weather.
neck|A neck is the part of the body between the head and the shoulders.
need|To need means to be unable to do without something.
net|A net is a thing made of knotted string, used for catching fish.
network|A network is a group of things or people that are connected.
news|News is a report of what has just happened.
nice|Nice means pleasant and friendly.
no|No means that something is not so; it is the opposite of yes.
noise|Noise is a loud or unpleasant sound.
nose|A nose is the part of the face that we smell and breathe with.
nothing|Nothing means not a single thing.
novel|A novel is a long written story.
now|Now means at this time.
number|A number is a word or a sign that says how many.
object|An object is a thing that you can see and touch.
office|An office is a room or a building where people work at desks.
oil|Oil is a thick liquid that is used for cooking or burned as fuel.
one|One is the first number.
two|Two is the number after one.
three|Three is the number after two.
four|Four is the number after three.
five|Five is the number after four.
six|Six is the number after five.
seven|Seven is the number after six.
eight|Eight is the number after seven.
nine|Nine is the number after eight.
ten|Ten is the number after nine.
zero|Zero is the number that means none.
hundred|A hundred is ten times ten.
thousand|A thousand is ten times a hundred.
million|A million is a thousand times a thousand.
open|To open means to make something no longer closed.
option|An option is one of the things that you can choose.
order|An order is a command, or the way in which things follow one another.
page|A page is one side of a sheet of paper in a book.
pain|Pain is the bad feeling in a part of the body that is hurt.
paper|Paper is thin material made from wood, used for writing and printing.
parent|A parent is a father or a mother.
park|A park is an open place in a town with grass and trees.
part|A part is a piece of a whole.
party|A party is a meeting of people to eat, drink and have fun, or a political group.
pass|To pass means to go by something.
past|The past is the time before now.
future|The future is the time that is to come.
path|A path is a narrow way to walk on.
pen|A pen is a tool for writing with ink.
people|People are men, women and children.
person|A person is a man, a woman or a child.
phone|A phone is a device for talking to people who are far away.
physics|Physics is the science of matter, energy and forces.
chemistry|Chemistry is the science of substances and how they change.
biology|Biology is the science of living things.
pick|To pick means to choose something, or to take a fruit or a flower from a plant.
picture|A picture is a painting, a drawing or a photograph.
pipe|A pipe is a tube for water or gas, or a thing for smoking tobacco.
place|A place is where something is.
plane|A plane is a vehicle with wings and engines that flies.
plastic|Plastic is a light material made from oil that can be given any shape.
poem|A poem is a text in lines, often with rhymes.
point|A point is the sharp end of something, or a small dot.
police|The police are the people whose work is to make others obey the law.
pool|A pool is a small body of water, often for swimming.
poor|Poor means having little money.
post|A post is a strong pole that stands in the ground, or the letters that are sent.
pound|A pound is a unit of weight, or the money of Britain.
power|Power is strength, or the ability to make people do things.
president|A president is the head of a country that has no king.
price|A price is how much money you must pay for something.
printer|A printer is a machine that puts text and pictures on paper.
problem|A problem is something difficult that must be solved.
program|A program is a set of instructions that tells a computer what to do.
programming|Programming is the writing of computer programs.
property|Property is what someone owns.
question|A question is what you ask when you want to know something.
quiet|Quiet means making little or no noise.
race|A race is a contest to see who is the fastest.
radio|A radio is a device that receives sound sent through the air.
reason|A reason is why something happens or is done.
record|A record is a written account of facts, or the best result so far.
religion|Religion is the belief in a god or in gods.
respect|Respect is the feeling that someone is good or important.
rest|To rest means to stop working and be quiet.
result|A result is what comes from an action.
rich|Rich means having much money.
ride|To ride means to sit on a horse or a bicycle and make it go.
right|Right means correct, or on the side away from the heart.
left|Left means on the side of the body where the heart is.
ring|A ring is a band of metal worn on a finger.
road|A road is a way on which cars travel.
room|A room is a part of a house with walls, a floor and a ceiling.
root|A root is the part of a plant that grows under the ground.
round|Round means shaped like a ball or a circle.
rubber|Rubber is a soft material that stretches, made from the juice of a tree.
rule|A rule says what you must do or must not do.
say|To say means to speak words.
scale|A scale is a device for weighing things.
scene|A scene is a part of a play or a film.
score|A score is the number of points in a game.
screen|A screen is the flat part of a computer or a television that shows pictures.
season|A season is one of the four parts of the year: spring, summer, autumn and winter.
secret|A secret is something that is known to only a few people.
secretary|A secretary is a person who writes letters and keeps papers in an office.
sense|A sense is a power such as sight, hearing, smell, taste or touch.
sentence|A sentence is a group of words that says or asks something.
server|A server is a computer that gives data to other computers.
set|A set is a group of things that belong together.
shape|A shape is the outer form of something.
sharp|Sharp means having an edge that cuts or a point.
sheet|A sheet is a thin flat piece of something, such as paper or cloth.
shell|A shell is the hard outer part of an egg, a nut or a small sea animal.
shoot|To shoot means to fire a gun or an arrow.
shop|A shop is a place where things are sold.
store|A store is a place where things are sold.
side|A side is a part of something that is not its front, back, top or bottom.
sign|A sign is a mark or a board that tells you something.
silly|Silly means foolish; not serious.
sister|A sister is a girl or a woman who has the same parents as you.
brother|A brother is a boy or a man who has the same parents as you.
son|A son is someone's male child.
daughter|A daughter is someone's female child.
sit|To sit means to rest on a chair or on the ground.
skin|Skin is the outer cover of the body.
smart|Smart means quick to learn and understand.
smile|To smile means to turn up the corners of the mouth because you are happy.
smooth|Smooth means without bumps; not rough.
software|Software is the programs that a computer runs.
solid|Solid means hard and firm, neither liquid nor gas.
solution|A solution is the answer to a problem.
song|A song is music with words that are sung.
sort|A sort is a kind of thing.
soul|A soul is the part of a person that some people believe never dies.
sound|A sound is something that can be heard.
space|Space is the room between things, or all that is beyond the earth.
speed|Speed is how fast something moves.
spell|To spell means to say or write the letters of a word.
spirit|A spirit is the part of a person that is not the body, or a ghost.
spring|Spring is the season between winter and summer, when plants begin to grow.
summer|Summer is the warmest season of the year.
winter|Winter is the coldest season of the year.
square|A square is a shape with four equal sides and four right angles.
triangle|A triangle is a shape with three sides.
stage|A stage is the place in a theater where actors play.
state|A state is a country, or the way that something is.
step|A step is the act of moving a foot when you walk.
stick|A stick is a thin piece of wood.
stone|A stone is a hard piece of rock.
story|A story tells of things that happened, true or not.
straight|Straight means without a bend.
strange|Strange means unusual and surprising.
stream|A stream is a small river.
string|A string is a thin cord.
student|A student is a person who learns at a school or a university.
stupid|Stupid means slow to learn or understand.
subject|A subject is what is talked or written about.
success|Success is getting what you tried to get.
suit|A suit is a jacket and trousers of the same cloth.
sum|A sum is what you get when you add numbers.
sure|Sure means having no doubt.
surface|A surface is the outside or the top of something.
surprise|A surprise is something that you did not expect.
system|A system is a group of things that work together.
take|To take means to get something into the hands.
talk|To talk means to speak with someone.
tall|Tall means having a great height.
tank|A tank is a large container for liquid or gas. It is also a heavy army vehicle with a gun.
tape|A tape is a long thin band of cloth, paper or plastic.
taste|Taste is the sense by which we know if food is sweet, sour, salt or bitter.
team|A team is a group of people who play or work together.
term|A term is a word for something, or a fixed time.
text|A text is something written.
thing|A thing is any object that is not a living being.
thought|A thought is something that you think.
tin|Tin is a soft silver-white metal. A tin is also a metal can.
today|Today is this day.
tomorrow|Tomorrow is the day after today.
yesterday|Yesterday is the day before today.
tooth|A tooth is one of the hard white things in the mouth, used for biting.
top|The top is the highest part of something.
touch|To touch means to put the hand on something.
town|A town is a place with many houses and streets, smaller than a city.
village|A village is a small group of houses in the country.
toy|A toy is a thing that children play with.
trip|A trip is a journey to a place.
trouble|Trouble is a problem or a difficulty.
truck|A truck is a large vehicle that carries goods.
try|To try means to make an effort to do something.
turn|To turn means to move around or to change direction.
type|A type is a kind of thing.
under|Under means below something.
universe|The universe is all of space and everything in it.
university|A university is a school of the highest level.
vacation|A vacation is a time of rest away from work or school.
value|The value of a thing is how much it is worth.
van|A van is a closed vehicle for carrying goods.
view|A view is what you can see from a place, or an opinion.
voice|A voice is the sound that a person makes when speaking or singing.
wall|A wall is one of the sides of a room or a building.
wash|To wash means to clean with water.
watch|To watch means to look at something for some time.
way|A way is a road or path, or how something is done.
weak|Weak means having little strength.
weather|Weather is the sun, rain, wind, heat and cold of a day.
weight|Weight is how heavy something is.
weird|Weird means very strange.
wheel|A wheel is a round thing that turns and lets a vehicle roll.
wild|Wild means living in nature; not tame.
will|A will is the power to decide, or a paper that says who gets your things after your death.
wire|A wire is a thin thread of metal.
wish|A wish is something that you want to happen.
wonderful|Wonderful means very good and pleasing.
wood|Wood is the hard material that trees are made of.
world|The world is the earth with all its countries and people.
writer|A writer is a person who writes books or articles.
wrong|Wrong means not correct, or not good.
yes|Yes means that something is so; it is the opposite of no.
young|Young means having lived only a short time.
ant|An ant is a small insect that lives in large groups.
butterfly|A butterfly is an insect with large colored wings.
spider|A spider is a small animal with eight legs that spins webs.
fly|To fly means to move through the air.
mosquito|A mosquito is a small flying insect that bites and sucks blood.
frog|A frog is a small green animal that jumps and lives near water.
monkey|A monkey is an animal with a long tail that climbs trees.
ape|An ape is a large animal like a monkey without a tail.
duck|A duck is a bird with a broad beak that swims.
chicken|A chicken is a farm bird that is kept for its eggs and meat.
hen|A hen is a female chicken.
pig|A pig is a fat farm animal with a flat nose.
sheep|A sheep is a farm animal that gives wool.
goat|A goat is an animal with horns and a beard that gives milk.
shark|A shark is a large fish with sharp teeth.
eagle|An eagle is a large bird with strong claws that hunts small animals.
owl|An owl is a bird with large eyes that hunts at night.
parrot|A parrot is a bird with bright colors that can learn to say words.
turtle|A turtle is a slow animal with a hard shell.
crocodile|A crocodile is a large reptile with many teeth that lives in rivers.
kangaroo|A kangaroo is an Australian animal that jumps and carries its young in a pouch.
zebra|A zebra is an African animal like a horse with black and white stripes.
camel|A camel is a large desert animal with one or two humps.
fox|A fox is a wild animal with red fur and a thick tail.
deer|A deer is a wild animal that runs fast; the male has horns.
squirrel|A squirrel is a small animal with a thick tail that eats nuts.
rat|A rat is an animal like a large mouse.
puppy|A puppy is a young dog.
kitten|A kitten is a young cat.
lamb|A lamb is a young sheep.
dragon|A dragon is a monster in stories that has wings and breathes fire.
unicorn|A unicorn is an animal in stories, like a white horse with one horn.
dinosaur|A dinosaur is one of the large reptiles that lived millions of years ago.
pizza|A pizza is a flat round bread with tomatoes and cheese, baked in an oven.
cake|A cake is a sweet food made of flour, eggs and sugar, baked in an oven.
chocolate|Chocolate is a sweet brown food made from cocoa.
soup|A soup is a hot liquid food made by boiling meat or vegetables in water.
rice|Rice is a plant with small white grains that are cooked and eaten.
orange|An orange is a round sweet fruit with a thick skin.
pear|A pear is a sweet fruit that is narrow at the top.
grape|A grape is a small round fruit from which wine is made.
strawberry|A strawberry is a small soft red fruit.
cherry|A cherry is a small round red fruit with a stone.
onion|An onion is a round vegetable with a strong smell.
butter|Butter is a soft yellow food made from milk.
honey|Honey is a sweet thick liquid made by bees.
juice|Juice is the liquid that comes from fruit.
beer|Beer is an alcoholic drink made from grain.
breakfast|Breakfast is the first meal of the day.
lunch|Lunch is the meal in the middle of the day.
kitchen|A kitchen is a room where food is cooked.
bathroom|A bathroom is a room where you wash yourself.
bedroom|A bedroom is a room where you sleep.
roof|A roof is the cover on top of a building.
lamp|A lamp is a thing that gives light.
mirror|A mirror is a piece of glass in which you can see yourself.
soap|Soap is a substance used with water for washing.
shirt|A shirt is a piece of clothing for the upper body.
shoe|A shoe is a thing that you wear on the foot.
sock|A sock is a piece of soft clothing for the foot.
coat|A coat is a warm piece of clothing that you wear outside.
hat|A hat is a thing that you wear on the head.
dress|A dress is a piece of clothing for a woman or a girl.
glove|A glove is a piece of clothing for the hand.
clothes|Clothes are the things that people wear.
pencil|A pencil is a tool for writing or drawing, made of wood with a gray core.
scissors|Scissors are a tool with two blades for cutting paper or cloth.
hammer|A hammer is a tool for driving nails into wood.
nail|A nail is a thin pointed piece of metal that is driven into wood.
saw|A saw is a tool with a blade and teeth for cutting wood.
ladder|A ladder is a thing with steps for climbing up a wall or a tree.
rope|A rope is a strong thick cord.
candle|A candle is a stick of wax that burns and gives light.
bag|A bag is a soft container for carrying things.
bottle|A bottle is a container with a narrow neck for liquids.
cup|A cup is a small container to drink from.
box|A box is a container with flat sides, often with a lid.
boat|A boat is a small vehicle that travels on water.
bus|A bus is a large vehicle that carries many people.
helicopter|A helicopter is an aircraft without wings that is lifted by turning blades.
rocket|A rocket is a machine that flies into space, driven by hot gas.
robot|A robot is a machine that can do some of the work of people.
engine|An engine is a machine that makes a car, a ship or an airplane move.
pilot|A pilot is a person who flies an airplane.
farmer|A farmer is a person who grows plants and keeps animals on a farm.
nurse|A nurse is a person whose work is to take care of sick people.
soldier|A soldier is a person who fights in an army.
judge|A judge is a person who decides in a court of law.
lawyer|A lawyer is a person whose work is to help people with the law.
baker|A baker is a person who makes bread and cakes.
artist|An artist is a person who makes pictures or other works of art.
singer|A singer is a person who sings.
scientist|A scientist is a person who studies nature by observation and experiment.
astronaut|An astronaut is a person who travels in space.
engineer|An engineer is a person who plans and builds machines, roads or bridges.
football|Football is a game in which two teams try to get a ball into a goal.
tennis|Tennis is a game in which two or four players hit a ball over a net.
chess|Chess is a game for two players with sixteen pieces each on a board.
storm|A storm is very bad weather with strong wind and rain.
thunder|Thunder is the loud noise that comes after lightning.
lightning|Lightning is a flash of electricity in the sky.
rainbow|A rainbow is a curved band of colors in the sky when sun shines through rain.
fog|Fog is thick cloud near the ground.
earthquake|An earthquake is a shaking of the ground.
beach|A beach is the sand or stones along the edge of the sea.
lake|A lake is a large body of water with land all around it.
hill|A hill is a piece of land that is higher than the land around it, but lower than a mountain.
valley|A valley is low land between hills or mountains.
brain|The brain is the organ in the head with which we think.
blood|Blood is the red liquid that flows through the body.
bone|A bone is one of the hard white parts inside the body.
ear|An ear is the part of the head with which we hear.
tongue|A tongue is the soft part in the mouth with which we taste and speak.
stomach|The stomach is the organ in the body where food is broken down.
atom|An atom is the smallest part of an element.
oxygen|Oxygen is a gas in the air that we need to breathe.
energy|Energy is the power to do work.
magnet|A magnet is a piece of iron that pulls other iron to it.
birthday|A birthday is the day on which someone was born.
wedding|A wedding is a ceremony in which two people are married.
dance|To dance means to move to music.
ghost|A ghost is the spirit of a dead person in stories.
god|A god is a being that people pray to.
grass|Grass is the green plant with thin leaves that covers fields.
seed|A seed is the small part of a plant from which a new plant grows.
sand|Sand is very small grains of rock, found on beaches and in deserts.
coal|Coal is a black rock that is burned as fuel.
steel|Steel is a strong metal made from iron.
copper|Copper is a soft red-brown metal.
diamond|A diamond is a very hard clear stone of great value.
sword|A sword is a weapon with a long blade.
gun|A gun is a weapon that fires bullets.
army|An army is a large group of soldiers who fight on land.
government|A government is the group of people who rule a country.
tax|A tax is money that people must pay to the government.
museum|A museum is a building where old or beautiful things are shown.
theater|A theater is a building where plays are shown.
restaurant|A restaurant is a place where you can buy and eat a meal.
hotel|A hotel is a building where travelers pay to sleep.
castle|A castle is a large old building with thick walls and towers.
prison|A prison is a building where criminals are locked up.
newspaper|A newspaper is sheets of paper with the news, printed every day.
patience|Patience is the ability to wait without getting angry.
wisdom|Wisdom is knowing what is true and right.
beauty|Beauty is the quality of being pleasing to look at or to hear.
happiness|Happiness is the state of being happy.
sadness|Sadness is the state of being sad.
friendship|Friendship is the state of being friends.
health|Health is the state of being well and not sick.
"""

QUESTIONS = """\
Why is the sky blue|The sky is blue because the air scatters blue light more than red light.
Why is grass green|Grass is green because it has a green substance in its leaves that takes in sunlight.
Why is the sea salty|The sea is salty because rivers carry salt from rocks into it.
Why do we sleep|We sleep so that the body and the mind can rest.
Why do we eat|We eat because food gives us energy.
Why do we drink water|We drink water because the body needs it to live.
Why do we breathe|We breathe because the body needs oxygen from the air.
Why do birds fly|Birds fly to find food and to get away from danger.
Why do birds sing|Birds sing to call other birds and to keep others away.
Why do cats purr|Cats most often purr because they are content.
Why do dogs bark|Dogs bark to warn, to call or to play.
Why do leaves fall|Leaves fall in autumn because trees need to save water in the winter.
Why does it rain|It rains because small drops of water in the clouds join and become too heavy.
Why does ice float|Ice floats because it is lighter than water of the same size.
Why is fire hot|Fire is hot because burning sets energy free.
Why is snow white|Snow is white because its crystals scatter light of all colors.
Why is blood red|Blood is red because it has iron in it.
Why do we have seasons|We have seasons because the earth is tilted as it moves around the sun.
Why is there day and night|There is day and night because the earth turns around.
Why do people laugh|People laugh because something is funny or because they are happy.
Why do people cry|People cry because they are sad, hurt or very happy.
Why do plants need light|Plants need light to make their food.
Why do things fall|Things fall because gravity pulls them to the ground.
How do birds fly|Birds fly by moving their wings, which push the air down.
How do fish breathe|Fish breathe through gills, which take oxygen from the water.
How do plants grow|Plants grow from seeds with the help of water, light and air.
How do airplanes fly|Airplanes fly because the air lifts their wings when they move fast.
How do bees make honey|Bees make honey from the sweet juice of flowers.
How does a car work|A car has an engine that turns its wheels.
How does a computer work|A computer follows the instructions of a program, one after another, very fast.
How does a telephone work|A telephone turns sound into electricity and back into sound.
How does a clock work|A clock counts equal parts of time and shows them with its hands.
How do I make tea|Pour boiling water on tea leaves and wait a few minutes.
How do I make coffee|Pour hot water over ground coffee beans.
How do I boil an egg|Put the egg in boiling water for some minutes.
How do I bake a cake|Mix flour, eggs, sugar and butter, and bake it in an oven.
How do I bake bread|Mix flour, water, salt and yeast, let it rise, and bake it in an oven.
How do I learn a language|Listen, read and speak a little every day.
How do I make a friend|Be kind, listen, and spend time with people.
How is bread made|Bread is made from flour and water and baked in an oven.
How is wine made|Wine is made from the juice of grapes.
How is cheese made|Cheese is made from milk.
How is paper made|Paper is made from wood.
How is glass made|Glass is made from hot melted sand.
How is rain made|Rain is made when water in the clouds becomes drops that fall.
How many legs does a dog have|A dog has four legs.
How many legs does a cat have|A cat has four legs.
How many legs does a horse have|A horse has four legs.
How many legs does a spider have|A spider has eight legs.
How many legs does an insect have|An insect has six legs.
How many legs does a bird have|A bird has two legs.
How many legs does a person have|A person has two legs.
How many legs does a snake have|A snake has no legs.
How many fingers do I have|You have ten fingers.
How many fingers does a hand have|A hand has five fingers.
How many eyes do you have|I am a language model, so I have no eyes.
How many eyes does a person have|A person has two eyes.
How many days are there in a week|There are seven days in a week.
How many days are there in a year|There are 365 days in a year.
How many hours are there in a day|There are 24 hours in a day.
How many minutes are there in an hour|There are sixty minutes in an hour.
How many seconds are there in a minute|There are sixty seconds in a minute.
How many months are there in a year|There are twelve months in a year.
How many weeks are there in a year|There are 52 weeks in a year.
How many planets are there|There are eight planets that move around the sun.
How many continents are there|There are seven continents.
How many letters are there in the alphabet|There are 26 letters in the alphabet.
How many seasons are there|There are four seasons.
How many sides does a triangle have|A triangle has three sides.
How many sides does a square have|A square has four sides.
How many wheels does a car have|A car has four wheels.
How many wheels does a bicycle have|A bicycle has two wheels.
How many strings does a violin have|A violin has four strings.
How many strings does a guitar have|A guitar has six strings.
What color is the sky|The sky is blue.
What color is grass|Grass is green.
What color is snow|Snow is white.
What color is blood|Blood is red.
What color is the sun|The sun looks yellow.
What color is a banana|A banana is yellow.
What color is an apple|An apple is red, yellow or green.
What color is a lemon|A lemon is yellow.
What color is coal|Coal is black.
What color is milk|Milk is white.
What color is the sea|The sea is blue.
What color is an elephant|An elephant is gray.
What color is a carrot|A carrot is orange.
What color is a tomato|A tomato is red.
What color is gold|Gold is yellow.
What sound does a dog make|A dog barks.
What sound does a cat make|A cat says meow.
What sound does a cow make|A cow says moo.
What sound does a duck make|A duck says quack.
What sound does a lion make|A lion roars.
What sound does a sheep make|A sheep says baa.
What sound does a horse make|A horse neighs.
What do cows eat|Cows eat grass.
What do cats eat|Cats eat meat, mice and fish.
What do dogs eat|Dogs eat meat and bones.
What do birds eat|Birds eat seeds, insects and worms.
What do rabbits eat|Rabbits eat grass and carrots.
What do lions eat|Lions eat meat.
What do horses eat|Horses eat grass and hay.
What do monkeys eat|Monkeys eat fruit and leaves.
What do bees make|Bees make honey.
What do cows give|Cows give milk.
What do sheep give|Sheep give wool.
What do hens lay|Hens lay eggs.
Where do fish live|Fish live in water.
Where do birds live|Birds live in nests.
Where do lions live|Lions live in Africa.
Where do penguins live|Penguins live in the cold south of the earth.
Where do camels live|Camels live in the desert.
Where do bees live|Bees live in hives.
Where do kangaroos live|Kangaroos live in Australia.
Where does milk come from|Milk comes from cows.
Where does honey come from|Honey comes from bees.
Where does wool come from|Wool comes from sheep.
Where does rain come from|Rain comes from clouds.
Where does bread come from|Bread is made from flour, which comes from grain.
Where does paper come from|Paper comes from trees.
Where does the sun rise|The sun rises in the east.
Where does the sun set|The sun sets in the west.
When do leaves fall|Leaves fall in autumn.
When does it snow|It snows in winter.
When do we sleep|We sleep at night.
When is Christmas|Christmas is on the 25th of December.
Who wrote Pride and Prejudice|Jane Austen wrote Pride and Prejudice.
Who wrote Emma|Jane Austen wrote Emma.
Who is Jane Austen|Jane Austen was an English writer of novels.
Who wrote Hamlet|William Shakespeare wrote Hamlet.
Who was Shakespeare|William Shakespeare was an English writer of plays and poems.
Who was Einstein|Albert Einstein was a scientist who changed physics.
Who was Newton|Isaac Newton was an English scientist who studied light and gravity.
Who was Mozart|Mozart was a composer of music from Austria.
Who was Columbus|Columbus was a sailor who crossed the ocean to America in 1492.
What is the largest animal|The largest animal is the blue whale.
What is the tallest animal|The tallest animal is the giraffe.
What is the fastest animal|The fastest animal on land is the cheetah.
What is the largest planet|The largest planet is Jupiter.
What is the largest ocean|The largest ocean is the Pacific.
What is the highest mountain|The highest mountain is Mount Everest.
What is the longest river|The longest river is the Nile.
What is the largest country|The largest country is Russia.
What is the hottest season|The hottest season is summer.
What is the coldest season|The coldest season is winter.
What is the first letter of the alphabet|The first letter of the alphabet is A.
What is the last letter of the alphabet|The last letter of the alphabet is Z.
What is the first month of the year|The first month of the year is January.
What is the last month of the year|The last month of the year is December.
What is ice made of|Ice is made of water.
What is bread made of|Bread is made of flour and water.
What is cheese made of|Cheese is made of milk.
What is wine made of|Wine is made of grapes.
What is glass made of|Glass is made of sand.
What is paper made of|Paper is made of wood.
What is a table made of|A table is most often made of wood.
What can I do with a knife|You can cut things with a knife.
What can I do with a pen|You can write with a pen.
What can I do with a hammer|You can drive nails into wood with a hammer.
What do you do with a spoon|You eat soup with a spoon.
What do you do with a key|You open a lock with a key.
What does a teacher do|A teacher helps others learn.
What does a doctor do|A doctor makes sick people well.
What does a baker do|A baker makes bread and cakes.
What does a farmer do|A farmer grows plants and keeps animals.
What does a pilot do|A pilot flies an airplane.
What does a nurse do|A nurse takes care of sick people.
What does a writer do|A writer writes books.
What does a judge do|A judge decides in a court of law.
Is the earth round|Yes, the earth is round.
Is the earth flat|No, the earth is round.
Is the sun hot|Yes, the sun is very hot.
Is ice cold|Yes, ice is cold.
Is fire cold|No, fire is hot.
Is snow black|No, snow is white.
Is water wet|Yes, water is wet.
Is the sky green|No, the sky is blue.
Is the sun a star|Yes, the sun is a star.
Is the moon a star|No, the moon is a round body that moves around the earth.
Can birds fly|Yes, most birds can fly.
Can fish fly|No, fish swim.
Can dogs fly|No, dogs cannot fly.
Can cats swim|Cats can swim, but most do not like water.
Can penguins fly|No, penguins cannot fly, but they swim well.
Can you help me|Yes. Ask me about a word, or tell me something to remember.
Can you see|No, I can only read and write text.
Can you hear me|No, I can only read what you write.
Can you speak|I can only write.
Do fish sleep|Yes, fish sleep with their eyes open.
Do snakes have legs|No, snakes have no legs.
Do birds have teeth|No, birds have beaks.
Do plants eat|Plants make their own food from light, air and water.
Do you sleep|No, I am a language model and do not sleep.
Do you eat|No, I am a language model and do not eat.
Do you have a body|No, I am a program and have no body.
Is a whale a fish|No, a whale is a mammal.
Is a dolphin a fish|No, a dolphin is a mammal.
Is a penguin a bird|Yes, a penguin is a bird.
Is a tomato a fruit|Yes, a tomato is a fruit that is eaten as a vegetable.
Is a spider an insect|No, a spider has eight legs and is not an insect.
Is a bat a bird|No, a bat is a mammal that flies.
"""

# What the handwritten nouns are, where neither their sentence nor the dictionary says it.
KINDS = {"queen": ["person"], "tiger": ["mammal", "animal"], "egg": ["food"], "cup": ["container"], "server": ["machine"], "nail": [],
         "school": ["building"], "church": ["building"], "library": ["building"], "museum": ["building"], "castle": ["building"],
         "prison": ["building"], "heart": ["body part"], "hair": ["body part"], "glove": ["piece of clothing"], "boot": ["piece of clothing"],
         "kitten": ["mammal", "animal"], "lamb": ["mammal", "animal"], "turtle": ["reptile", "animal"], "tree": ["plant"], "clothes": []}

# Words of which the dictionary knows only an odd sense: better not taught at all.
SKIP = """are at as he doe drove felt fell lied links names needs numbers eyes eats days ditto why char mod must sent till won do sake
used using others putt putting till times ways works words men legs fries flies falls loads lots scores sales spots stays stops
strings talks terms things remains reserves respects rates quits parts papers operations occasions odds minutes letters hours hands
grounds funds folks effects details devices damages costs contents conditions communications circumstances channels chips cards
boards bars authorities affairs colors years teeth elements dozens dating crashing handed headed landed leaded leaved minded liked
trapping looking sounding trying suiting stopping ending wording wishing letting keeping acquired attended addressed thrown""".split()


def pairs(text):
    return [tuple(line.split("|", 1)) for line in text.splitlines()]
