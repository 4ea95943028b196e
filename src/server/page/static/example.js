// Something to press the button on: short answers that share words with the question, and a long text that answers it at its end.

export const exampleQuery = "How do I keep bread fresh?";

export const exampleDocuments = [
  "Fresh bread is baked every morning from six o'clock; come early, the rye is gone by nine.",
  "Store a loaf in a paper bag or a bread box; the fridge makes it go stale faster.",
  "Sourdough starter is a culture of wild yeast and lactic acid bacteria.",
  "Bread goes stale because its starch crystallises again as it cools.",
  "The city council moved the weekly market behind the station.",
  "Slice what you will not eat within two days and freeze it; toast the slices straight from the freezer.",
  "From the parish letter of June. The tower clock has been repaired and strikes again, though it strikes thirteen at noon, which the clockmaker from the valley will look at when he comes for the second half of his money. The path to the upper spring is closed until the bridge has new planks; whoever can spare a morning with a hammer should tell the sexton. The choir sang at three weddings and asks for more basses. The school collected eleven sacks of chestnuts for the deer and one sack of something that nobody could name. The meeting about the drains lasted until ten and will go on in July. Two bicycles were found behind the chapel, one of them green. The fire brigade thanks everyone who gave to the new pump and invites them to see it throw water over the linden tree on Sunday after the service. The road to the station will be closed on the ninth, and the bus will stop at the sawmill instead. The library has received the books of the late teacher, four hundred of them, and looks for shelves. Our advice for the kitchen this month comes from the baker's wife: bread stays fresh for a week when you wrap the loaf in a linen cloth and stand it on its cut face on a wooden board; do not keep it in the fridge, and never cut it while it is warm.",
  "Butter keeps for months in the freezer when it is wrapped well.",
];
