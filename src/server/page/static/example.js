// Something to press the button on: short answers that share words with the question, and one long text that answers it late.

export const exampleQuery = "How do I keep bread fresh?";

export const exampleDocuments = [
  "Fresh bread is baked every morning from six o'clock; come early, the rye is gone by nine.",
  "Store a loaf in a paper bag or a bread box; the fridge makes it go stale faster.",
  "Sourdough starter is a culture of wild yeast and lactic acid bacteria.",
  "Bread goes stale because its starch crystallises again as it cools.",
  "The city council moved the weekly market behind the station.",
  "Slice what you will not eat within two days and freeze it; toast the slices straight from the freezer.",
  "My grandmother kept a notebook of everything that happened in her kitchen. It opens with the oven, which had to be lit at four in the morning and fed with beech until the stones turned white. Then come the flours: the miller's first, the miller's second, and what he swept up, which was for the pigs. A page about water follows, since ours was hard and the dough knew it. There are the weddings, with the number of loaves for each, and the year when there was no salt. Near the end she writes what she told everyone who carried a loaf home: do not cut it while it is warm, wrap it in a linen cloth, stand it on its cut face on a wooden board, and it will be good for a week.",
  "Butter keeps for months in the freezer when it is wrapped well.",
];
