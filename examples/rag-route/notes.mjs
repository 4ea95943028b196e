// What there is to know. In an application: your database.
export const notes = [
  {
    id: "bread",
    text: "Store a loaf in a paper bag or a bread box at room temperature; the fridge makes it go stale faster. What you cannot eat in three days freezes well in slices.",
  },
  {
    id: "stale",
    text: "Bread goes stale because its starch crystallises again as it cools, a process that is fastest just above freezing.",
  },
  {
    id: "starter",
    text: "Feed a sourdough starter once a day with equal parts of flour and water, or keep it in the fridge and feed it once a week.",
  },
  { id: "knife", text: "To sharpen a bread knife, work on the bevelled side of each serration with a thin rod." },
  { id: "panda", text: "The giant panda is a bear species endemic to China. It eats bamboo almost exclusively." },
  { id: "market", text: "The weekly market moved from the square to the car park behind the station. It is open on Saturdays from eight." },
];
