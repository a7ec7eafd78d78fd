"""The interfaces of STAR's 24 knowledge bases, as its repository defines them (RasaHQ/STAR, apis/apis, MIT).

The dialogue files name them alone. A parameter is (readable name, kind), with its categories where it has some.
"""

from __future__ import annotations

from typing import Any

_WEEK_DAYS = [
    "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"
]  # fmt: skip
_HOURS = [
    "12 am", "1 am", "2 am", "3 am", "4 am", "5 am", "6 am", "7 am", "8 am", "9 am", "10 am", "11 am", "12 pm",
    "1 pm", "2 pm", "3 pm", "4 pm", "5 pm", "6 pm", "7 pm", "8 pm", "9 pm", "10 pm", "11 pm"
]  # fmt: skip
_MONTH_DAYS = [
    "1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th", "10th", "11th", "12th", "13th", "14th",
    "15th", "16th", "17th", "18th", "19th", "20th", "21st", "22nd", "23rd", "24th", "25th", "26th", "27th",
    "28th", "29th", "30th", "31st"
]  # fmt: skip
_CITIES = [
    "Los Angeles", "San Francisco", "Chicago", "Detroit", "New York City", "Pittsburgh"
]  # fmt: skip

_INPUTS: dict[str, dict[str, tuple[Any, ...]]] = {
    "apartment_schedule": {
        "Name": (
            "Housing Company",
            "category",
            ["One on Center Apartments", "Shadyside Apartments", "North Hill Apartments"],
        ),
        "Day": ("Day", "category", _WEEK_DAYS),
        "StartTimeHour": ("Start Time Hour", "category", _HOURS),
        "RenterName": ("Renter Name", "text"),
        "ApplicationFeePaid": ("Application Fee Paid", "category", ["Yes", "No"]),
        "Message": ("Message", "text"),
        "RequestType": ("Request Type", "category", ["Check", "Book"]),
    },
    "apartment_search": {
        "Level": ("Level", "integer"),
        "MaxLevel": ("Max Level", "integer"),
        "HasBalcony": ("Has Balcony", "boolean"),
        "BalconySide": ("Balcony Side", "category", ["east", "north", "south", "west"]),
        "HasElevator": ("Has Elevator", "boolean"),
        "NumRooms": ("Num Rooms", "integer"),
        "FloorSquareMeters": ("Floor Square Meters", "integer"),
        "NearbyPOIs": (
            "Nearby POIs",
            "categories",
            ["School", "TrainStation", "Park", "Museum", "University", "Club", "User's office", "User's gym"],
        ),
        "Name": (
            "Housing Company",
            "category",
            ["One on Center Apartments", "Shadyside Apartments", "North Hill Apartments"],
        ),
        "Price": ("Price (monthly cold rent)", "integer"),
    },
    "bank_balance": {
        "BankName": ("Bank Name", "category", ["Chase", "Bank of America", "PNC", "Wells Fargo"]),
        "AccountNumber": ("Account Number", "text"),
        "FullName": ("Full Name", "text"),
        "DateOfBirth": ("Date Of Birth", "text"),
        "PIN": ("PIN", "text"),
        "SecurityAnswer1": ("Security Answer 1", "text"),
        "SecurityAnswer2": ("Security Answer 2", "text"),
    },
    "bank_fraud_report": {
        "BankName": ("Bank Name", "category", ["Chase", "Bank of America", "PNC", "Wells Fargo"]),
        "AccountNumber": ("Account Number", "text"),
        "FullName": ("Full Name", "text"),
        "DateOfBirth": ("Date Of Birth", "text"),
        "PIN": ("PIN", "text"),
        "SecurityAnswer1": ("Security Answer 1", "text"),
        "SecurityAnswer2": ("Security Answer 2", "text"),
        "FraudReport": ("Fraud Report", "text"),
    },
    "doctor_followup": {
        "Name": ("Doctor Name", "category", ["Dr. Johnson", "Dr. Morgan", "Dr. Alexis"]),
        "PatientName": ("Patient Name", "text"),
    },
    "doctor_schedule": {
        "Name": ("Doctor Name", "category", ["Dr. Johnson", "Dr. Morgan", "Dr. Alexis"]),
        "Day": ("Day", "category", _WEEK_DAYS),
        "StartTimeHour": ("Start Time Hour", "category", _HOURS),
        "PatientName": ("Patient Name", "text"),
        "Symptoms": ("Symptoms", "text"),
        "RequestType": ("Request Type", "category", ["Check", "Book"]),
    },
    "hotel_book": {
        "Name": ("Hotel Name", "category", ["Shadyside Inn", "Hilton Hotel", "Hyatt Hotel", "Old Town Inn"]),
        "StartDate": ("Start Day (1 - 31)", "category", _MONTH_DAYS),
        "EndDate": ("End Day (1 - 31)", "category", _MONTH_DAYS),
        "CustomerName": ("Customer Name", "text"),
        "CustomerRequest": ("Customer Request", "text"),
        "RequestType": ("Request Type", "category", ["Check", "Book"]),
    },
    "hotel_search": {
        "Name": ("Hotel Name", "category", ["Shadyside Inn", "Hilton Hotel", "Hyatt Hotel", "Old Town Inn"]),
        "Cost": ("Cost", "category", ["Cheap", "Moderate", "Expensive"]),
        "TakesReservations": ("Takes Reservations", "boolean"),
        "Service": ("Service", "boolean"),
        "AverageRating": ("Average Rating", "integer"),
        "Location": ("Location", "category", ["South", "West", "East", "North", "Center"]),
    },
    "hotel_service_request": {
        "Name": ("Hotel Name", "category", ["Shadyside Inn", "Hilton Hotel", "Hyatt Hotel", "Old Town Inn"]),
        "RoomNumber": ("Room Number", "integer"),
        "Time": ("Time", "category", _HOURS),
        "CustomerName": ("Customer Name", "text"),
        "CustomerRequest": ("Customer Request", "text"),
    },
    "meeting_schedule": {
        "Name": ("Guest Name", "category", ["John", "Michael", "Fred", "George"]),
        "Day": ("Day", "category", _WEEK_DAYS),
        "StartTimeHour": ("Start Time Hour", "category", _HOURS),
        "EndTimeHour": ("End Time Hour", "category", _HOURS),
        "UserName": ("User Name", "text"),
        "MeetingReason": ("Meeting Reason", "text"),
    },
    "party_plan": {
        "Name": ("Venue Name", "category", ["Southside Venue", "North Heights Venue", "West Bay Venue"]),
        "Day": ("Day", "category", _WEEK_DAYS),
        "StartTimeHour": ("Start Time Hour", "category", _HOURS),
        "HostName": ("Host Name", "text"),
        "NumberGuests": ("Number Guests", "integer"),
        "FoodRequest": ("Food Request", "text"),
        "DrinksRequest": ("Drinks Request", "text"),
        "RequestType": ("Request Type", "category", ["Check", "Book"]),
    },
    "party_rsvp": {
        "Name": ("Venue Name", "category", ["Southside Venue", "North Heights Venue", "West Bay Venue"]),
        "ArrivalTime": ("Arrival Time", "category", _HOURS),
        "HostName": ("Host Name", "text"),
        "GuestName": ("Guest Name", "text"),
        "NumberGuests": ("Number Guests", "integer"),
        "NeedParking": ("Need Parking", "category", ["Yes", "No"]),
        "DietaryRestrictions": ("Dietary Restrictions", "text"),
    },
    "plane_book": {
        "id": ("id", "integer"),
        "CustomerName": ("Customer Name", "text"),
        "RequestType": ("Request Type", "category", ["Check", "Book"]),
    },
    "plane_search": {
        "DepartureCity": ("Departure City", "category", _CITIES),
        "ArrivalCity": ("Arrival City", "category", _CITIES),
        "Price": ("Price", "integer"),
        "Date": ("Date", "category", _MONTH_DAYS),
        "ArrivalTime": ("Arrival Time", "category", _HOURS),
        "Class": ("Class", "category", ["First", "Business", "Economy"]),
        "DurationHours": ("Duration Hours", "integer"),
        "Airline": ("Airline", "category", ["American", "United", "Delta", "Virgin"]),
        "id": ("id", "integer"),
    },
    "restaurant_book": {
        "Name": ("Restaurant Name", "category", ["Cactus Club", "Tamarind", "Legume", "Lucca", "The Porch"]),
        "Time": ("Time", "category", _HOURS),
        "PartySize": ("Party Size", "integer"),
        "CustomerName": ("Customer Name", "text"),
        "RequestType": ("Request Type", "category", ["Check", "Book"]),
    },
    "restaurant_search": {
        "Name": ("Restaurant Name", "category", ["Cactus Club", "Tamarind", "Legume", "Lucca", "The Porch"]),
        "Cost": ("Cost", "category", ["Cheap", "Moderate", "Expensive"]),
        "TakesReservations": ("Takes Reservations", "boolean"),
        "DoesDelivery": ("Does Delivery", "boolean"),
        "AverageRating": ("Average Rating", "integer"),
        "Food": ("Food", "category", ["Pizza", "Chinese", "Indian", "Burgers", "Italian", "Thai", "Steak"]),
        "AverageWaitMinutes": ("Average Wait Minutes", "integer"),
        "OpenTimeHour": ("Open Time Hour", "category", _HOURS),
        "CloseTimeHour": ("Close Time Hour", "category", _HOURS),
        "MaxPartySize": ("Max Party Size", "integer"),
        "Location": ("Location", "category", ["South", "West", "East", "North", "Center"]),
    },
    "ride_book": {
        "Price": ("Price", "integer"),
        "AllowsChanges": ("Allows Changes", "boolean"),
        "MinutesTillPickup": ("Minutes until pickup", "integer"),
        "ServiceProvider": ("Service Provider", "category", ["Uber", "Lyft", "Taxi"]),
        "DriverName": ("Driver Name", "category", ["Mark", "Ella", "Dave", "Zoe", "Alex", "Sirius"]),
        "CarModel": ("Car Model", "category", ["Honda", "Toyota", "Corolla", "Tesla", "BMW", "Ford"]),
        "RequestType": ("Request Type", "category", ["Check", "Book"]),
        "LicensePlate": ("License Plate", "category", ["432 LSA", "313 EA9", "901 FSA", "019 EAS", "031 NGA"]),
        "DepartureLocation": ("Departure Location", "text"),
        "ArrivalLocation": ("Arrival Location", "text"),
        "CustomerName": ("Customer Name", "text"),
    },
    "ride_change": {
        "id": ("id", "integer"),
        "CustomerName": ("Customer Name", "text"),
        "ChangeDescription": ("Change Description", "text"),
    },
    "ride_status": {
        "id": ("id", "integer"),
        "CustomerName": ("Customer Name", "text"),
    },
    "spaceship_access_codes": {
        "UserRank": ("User Rank", "category", ["Captain", "First Officer", "Chief Engineer", "Bartender"]),
        "CodeType": ("Code Type", "category", ["Clearance", "Access Code"]),
        "Code": ("Code", "text"),
        "UserName": ("User Name", "text"),
    },
    "spaceship_life_support": {
        "LockManufacturer": ("Lock Manufacturer", "text"),
        "ColorOfTopCable": ("Color Of Top Cable", "text"),
        "ColorOfSecondCable": ("Color Of Second Cable", "text"),
    },
    "trip_directions": {
        "TripLengthMinutes": ("Trip Length Minutes", "integer"),
        "TravelMode": ("Travel Mode", "category", ["Transit", "Driving", "Walking"]),
        "DepartureTime": ("Departure Time", "category", _HOURS),
        "Price": ("Price", "integer"),
        "DepartureLocation": ("Departure Location", "text"),
        "ArrivalLocation": ("Arrival Location", "text"),
    },
    "trivia": {
        "QuestionNum": ("Question Number", "integer"),
    },
    "weather": {
        "City": ("City", "category", _CITIES),
        "Weather": ("Weather", "category", ["Raining", "Snowing", "Sunny", "Partly Cloudy", "Cloudy"]),
        "TemperatureCelsius": ("Temperature Celsius", "integer"),
        "Day": ("Day", "category", _WEEK_DAYS),
    },
}

_REQUIRED: dict[str, list[str]] = {
    "apartment_schedule": ["Name", "RenterName", "Day", "StartTimeHour", "ApplicationFeePaid", "RequestType"],
    "bank_fraud_report": ["FraudReport"],
    "doctor_followup": ["Name", "PatientName"],
    "doctor_schedule": ["Name", "PatientName", "Day", "StartTimeHour", "Symptoms", "RequestType"],
    "hotel_book": ["Name", "StartDate", "EndDate", "CustomerName", "RequestType"],
    "hotel_service_request": ["Name", "RoomNumber", "Time", "CustomerName", "CustomerRequest"],
    "meeting_schedule": ["Name", "UserName", "Day", "StartTimeHour", "EndTimeHour"],
    "party_plan": ["Name", "HostName", "Day", "StartTimeHour", "NumberGuests", "RequestType"],
    "party_rsvp": ["Name", "HostName", "GuestName", "ArrivalTime", "NumberGuests", "NeedParking"],
    "plane_book": ["id", "CustomerName", "RequestType"],
    "plane_search": ["DepartureCity", "ArrivalCity", "Date"],
    "restaurant_book": ["Name", "Time", "PartySize", "CustomerName", "RequestType"],
    "ride_book": ["CustomerName", "DepartureLocation", "ArrivalLocation", "RequestType"],
    "ride_change": ["id", "CustomerName", "ChangeDescription"],
    "ride_status": ["id", "CustomerName"],
    "spaceship_access_codes": ["UserName", "UserRank", "Code", "CodeType"],
    "spaceship_life_support": ["LockManufacturer", "ColorOfTopCable", "ColorOfSecondCable"],
    "trip_directions": ["DepartureLocation", "ArrivalLocation", "TravelMode", "DepartureTime"],
    "trivia": ["QuestionNum"],
    "weather": ["Day"],
}
"""Parameters without which the interface refuses to answer."""

_SCHEMAS: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer"},
    "category": {"type": "string"},
    "categories": {"type": "string"},
}
CONDITIONS = {
    "category": ("is_one_of",),
    "categories": ("contains", "contains_not"),
    "integer": ("is_at_least", "is_at_most", "is_less_than", "is_greater_than", "is_not"),
}
"""What may stand in place of a value, by kind: an object of one or several of these, `{"is_at_least": 4}`."""

ABOUT = "In place of a value a condition may stand: " + "; ".join(
    f"for {kind} {{{' or '.join(names)}: value}}" for kind, names in CONDITIONS.items()
)


def kind(api: str, parameter: str) -> str:
    """The kind of a parameter: text, boolean, integer, category or categories; text for one that is unknown."""
    return _INPUTS.get(api, {}).get(parameter, ("", "text"))[1]


def schema(api: str) -> dict[str, Any]:
    """JSON Schema of the parameters of the interface `api`. Raises KeyError for one that STAR does not have."""
    properties = {}
    for name, (readable, kind, *categories) in _INPUTS[api].items():
        value = dict(_SCHEMAS[kind])
        if categories:
            value["enum"] = categories[0]
        if kind in CONDITIONS:
            properties[name] = {"description": readable, "anyOf": [value, {"type": "object"}]}
        else:
            properties[name] = {"description": readable, **value}
    return {"type": "object", "properties": properties, "required": _REQUIRED.get(api, [])}


APIS = tuple(_INPUTS)
"""The names of all interfaces."""
