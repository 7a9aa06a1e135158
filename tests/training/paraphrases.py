"""Fifty requests, each with the same request in other words: what a leak by meaning looks like."""

from __future__ import annotations

__all__ = ["PAIRS"]

PAIRS: tuple[tuple[str, str, str], ...] = (
    (
        "SUMMARIZE",
        "Give me a short summary of the quarterly sales report",
        "Briefly sum up the sales report for the quarter",
    ),
    (
        "SUMMARIZE",
        "What is this podcast episode about?",
        "Tell me what this episode of the podcast is about",
    ),
    (
        "SUMMARIZE",
        "Condense the safety manual to one page",
        "Boil the safety manual down to a single page",
    ),
    (
        "SUMMARIZE",
        "I missed the board meeting, what are the key points?",
        "Key points of the board meeting that I missed, please",
    ),
    (
        "SUMMARIZE",
        "Recap yesterday's parent evening in five bullets",
        "Five bullet points that recap the parents' evening yesterday",
    ),
    (
        "SUMMARIZE",
        "Shorten this essay on whales to three sentences",
        "Cut the essay about whales down to three sentences",
    ),
    (
        "SUMMARIZE",
        "Write an abstract for my thesis on soil bacteria",
        "My thesis about bacteria in soil needs an abstract, write one",
    ),
    ("SUMMARIZE", "tl;dr of the terms of service", "terms of service, tldr version please"),
    (
        "SUMMARIZE",
        "Outline the plot of the opera in one paragraph",
        "In one paragraph, outline what happens in the opera",
    ),
    (
        "SUMMARIZE",
        "What are the main takeaways of the nutrition study?",
        "Main takeaways from the study on nutrition?",
    ),
    (
        "SUMMARIZE",
        "Give me an overview of the history of Lisbon",
        "An overview of Lisbon's history, please",
    ),
    (
        "SUMMARIZE",
        "Sum up the customer complaints from last month",
        "Summarise last month's complaints by customers",
    ),
    (
        "EXTRACT",
        "List all the dates in this rental contract",
        "Which dates appear in the rental contract? List all of them",
    ),
    (
        "EXTRACT",
        "What is the invoice number on this bill?",
        "Tell me the number of the invoice on this bill",
    ),
    (
        "EXTRACT",
        "Pull the e-mail addresses out of the newsletter",
        "Get all the email addresses from the newsletter",
    ),
    ("EXTRACT", "Who signed the peace treaty?", "By whom was the peace treaty signed?"),
    (
        "EXTRACT",
        "In which year was the bakery founded, according to the text?",
        "According to the text, when was the bakery founded?",
    ),
    (
        "EXTRACT",
        "Copy the ingredients of the cake into a table",
        "Make a table with the ingredients of the cake",
    ),
    (
        "EXTRACT",
        "What is the phone number of the dentist in this letter?",
        "Find the dentist's phone number in this letter",
    ),
    (
        "EXTRACT",
        "Return the names of the passengers as JSON",
        "Passenger names as JSON, please",
    ),
    (
        "EXTRACT",
        "How many people live in the village, says the article?",
        "According to the article, how many inhabitants does the village have?",
    ),
    (
        "EXTRACT",
        "Which players scored in the final?",
        "Name the players who scored goals in the final",
    ),
    (
        "EXTRACT",
        "Extract the tracking number from the delivery note",
        "Give me the tracking number on the delivery note",
    ),
    (
        "EXTRACT",
        "What notice period does the employment contract state?",
        "Which period of notice is stated in the employment contract?",
    ),
    (
        "EXTRACT",
        "List the side effects named in the package leaflet",
        "Which side effects does the package leaflet name?",
    ),
    (
        "REASON",
        "Should I buy an electric car or keep my old diesel?",
        "Is it better to keep my old diesel or to buy an electric car?",
    ),
    (
        "REASON",
        "Why did the Roman Empire fall?",
        "What were the reasons for the fall of the Roman Empire?",
    ),
    (
        "REASON",
        "How long will it take to pay back a loan of 5000 at 4 percent?",
        "I borrow 5000 at 4 percent, how long until the loan is paid back?",
    ),
    (
        "REASON",
        "What would happen if the bees died out?",
        "What would be the consequences if bees went extinct?",
    ),
    (
        "REASON",
        "Help me plan a week of hiking in Norway",
        "Plan a hiking week in Norway for me",
    ),
    (
        "REASON",
        "Which of these two phones takes better pictures, and why?",
        "Of these two phones, which one is better at taking pictures and why?",
    ),
    (
        "REASON",
        "Is it safe to eat mushrooms that a snail has nibbled on?",
        "Are mushrooms nibbled by snails safe to eat?",
    ),
    (
        "REASON",
        "Explain why the sea is salty",
        "Why is sea water salty? Please explain",
    ),
    (
        "REASON",
        "How can I get my cat to stop scratching the sofa?",
        "My cat keeps scratching the sofa, how do I make it stop?",
    ),
    (
        "REASON",
        "Compare the advantages of renting and owning a flat",
        "What are the advantages of owning a flat compared with renting one?",
    ),
    (
        "REASON",
        "Do I have enough paint for a wall of 12 square metres?",
        "Will my paint be enough for a wall of 12 square metres?",
    ),
    (
        "REASON",
        "What is the best way to train for a marathon?",
        "How should I train for a marathon in the best way?",
    ),
    (
        "REASON",
        "What can we infer about the climate from tree rings?",
        "What do tree rings let us conclude about the climate?",
    ),
    ("SEARCH_ONLY", "Find my tax return from 2018", "Where is my 2018 tax return? Find it"),
    ("SEARCH_ONLY", "Show me photos of our trip to Crete", "Pictures of our Crete trip, show them"),
    ("SEARCH_ONLY", "Open the folder with the wedding videos", "Open the wedding video folder"),
    (
        "SEARCH_ONLY",
        "Look for a manual of the Bosch dishwasher",
        "Search for the Bosch dishwasher manual",
    ),
    (
        "SEARCH_ONLY",
        "Play the latest album by the Arctic Monkeys",
        "Play the newest Arctic Monkeys album",
    ),
    (
        "SEARCH_ONLY",
        "Where did I save the birth certificate?",
        "In which place did I save my birth certificate?",
    ),
    ("SEARCH_ONLY", "cheap flights from Vienna to Athens", "low-cost flights Vienna Athens"),
    (
        "SEARCH_ONLY",
        "Are there any books about beekeeping in the library?",
        "Does the library have books on beekeeping?",
    ),
    (
        "SEARCH_ONLY",
        "Bookmark this recipe for pumpkin soup",
        "Save this pumpkin soup recipe to my bookmarks",
    ),
    (
        "SEARCH_ONLY",
        "Documents about the renovation of the kitchen",
        "kitchen renovation documents",
    ),
    ("SEARCH_ONLY", "weather forecast for Hamburg tomorrow", "tomorrow's weather in Hamburg"),
    (
        "SEARCH_ONLY",
        "Get me the receipt for the washing machine",
        "I need the washing machine receipt, get it for me",
    ),
)
